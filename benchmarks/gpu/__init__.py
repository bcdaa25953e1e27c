"""The same checks and measurements on whatever GPU is at hand, in a few minutes: `python -m benchmarks.gpu --help`."""
