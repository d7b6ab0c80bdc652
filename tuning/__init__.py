"""Searches over the settings of a model with KerasTuner, whose only importer this package is."""
