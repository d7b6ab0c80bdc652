"""Where KerasTuner searches over alpha, beta, tau and d will live, the only importer of keras_tuner."""
