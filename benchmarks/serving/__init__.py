"""Exported models beside the trained one: `python -m benchmarks.serving --help`."""
