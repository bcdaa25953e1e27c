"""The command that shows what the model of a run does."""
