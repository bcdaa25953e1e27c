"""Checks and measurements on a GPU, in a few minutes: `python -m benchmarks.gpu --help`."""
