"""Which files are mutated, how many of their mutants are run, and with which tests, fastest first."""

# All mutants of these files are run, in this order.
WHOLE = {
  "losses": ("losses_test",),
  "training/optimizers": ("training/optimizers_test", "config/reference_test", "training/stages_test"),
  "training/stages": ("training/stages_test",),
  "metrics": ("metrics_test", "evaluation/significance_test"),
  "ranking": ("metrics_test",),
  "models/prompts": ("models/prompted_test",),
}
# Mutants of the functions that insert prompts into the encoders are run, too.
PROMPTED = {
  "models/transformer": (
    ("Transformer.__call__",),
    ("models/prompted_test", "models/transformer_test", "models/execution_test"),
  ),
  "models/vision": (("ImageEncoder.__call__",), ("models/prompted_test", "models/clip_test")),
  "models/text": (("TextEncoder.__call__",), ("models/prompted_test", "models/clip_test")),
}
# Of the mutants of all these files together, a seeded random sample is run.
SAMPLED = {
  "training/train_step": ("training/train_step_test",),
  "training/program": ("training/program_test", "training/loop_test"),
  "config/values": ("config/values_test", "config/config_file_test"),
  "training/experiment": ("training/experiment_test", "training/loop_test"),
  "training/start": ("training/start_test", "training/origin_test", "training/loop_test"),
  "training/garbage": ("training/garbage_test",),
  "training/hooks": ("training/hooks_test", "training/loop_test"),
  "training/stopping": ("training/stopping_test", "training/hooks_test"),
  "workdir/checkpoint": ("workdir/checkpoint_test", "training/loop_test"),
  "workdir/digester": ("workdir/checkpoint_test", "training/loop_test"),
  "training/model": ("training/model_test",),
  "training/initialization": ("training/initialization_test", "training/start_test", "training/loop_test"),
}
SAMPLE_SIZE = 300
SEED = 0
