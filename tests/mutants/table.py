"""Which files are mutated, how many of their mutants, and by which tests, cheapest first."""

# All mutants of these, in the order in which they are run.
WHOLE = {
  "losses": ("losses_test", "training/train_step_test"),
  "training/optimizers": ("training/optimizers_test", "config/reference_test"),
  "training/stages": ("training/stages_test",),
  "metrics": ("metrics_test",),
  "models/prompts": ("models/prompted_test",),
}
# Of the functions in which prompts enter the encoders, too.
PROMPTED = {
  "models/transformer": (
    ("Transformer.__call__",),
    ("models/prompted_test", "models/transformer_test", "parallel/sharding_test"),
  ),
  "models/vision": (("ImageEncoder.__call__",), ("models/prompted_test", "models/clip_test")),
  "models/text": (("TextEncoder.__call__",), ("models/prompted_test", "models/clip_test")),
}
# Of these together, a seeded sample.
SAMPLED = {
  "training/train_step": ("training/train_step_test",),
  "training/program": ("training/program_test", "training/loop_test"),
  "config/values": ("config/values_test", "config/config_file_test"),
  "training/experiment": ("training/loop_test",),
  "training/start": ("training/origin_test", "training/loop_test"),
  "training/garbage": ("training/garbage_test",),
  "training/hooks": ("training/hooks_test", "training/loop_test"),
  "training/stopping": ("training/stopping_test", "training/hooks_test"),
  "workdir/checkpoint": ("workdir/checkpoint_test", "training/loop_test"),
  "training/model": ("training/model_test",),
  "training/initialization": ("training/loop_test",),
}
SAMPLE_SIZE = 300
SEED = 0
