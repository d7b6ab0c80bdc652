"""KerasTuner search spaces; the only importer of keras_tuner."""
