"""What a run keeps in its workdir: config, checkpoints, metrics and results."""
