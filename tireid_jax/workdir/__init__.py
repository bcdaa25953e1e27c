"""Contents of a run's workdir: config, checkpoints, metrics and results."""
