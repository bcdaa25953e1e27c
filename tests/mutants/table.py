"""Which files are mutated, how many of their mutants, and by which tests, cheapest first."""

# All mutants of these, in the order in which they are run.
WHOLE = {
  "losses": ("losses_test",),
  "optim": ("optim_test",),
  "stages": ("stages_test",),
  "metrics": ("metrics_test",),
  "models/prompts": ("models/prompted_test",),
}
# Of the functions in which prompts enter the encoders, too.
PROMPTED = {
  "models/transformer": (("_place_prompts", "Transformer.__call__"), ("models/prompted_test",)),
  "models/vision": (("ImageEncoder.__call__",), ("models/prompted_test",)),
  "models/text": (("TextEncoder.__call__",), ("models/prompted_test",)),
}
# Of these together, a seeded sample.
SAMPLED = {
  "train_step": ("train_step_test",),
  "program": ("program_test", "train_test"),
  "config": ("config_test", "config_file_test"),
  "hooks": ("hooks_test", "train_test"),
  "checkpoint": ("checkpoint_test", "train_test"),
  "start": ("start_test", "train_test"),
}
SAMPLE_SIZE = 300
SEED = 0
