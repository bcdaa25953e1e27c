"""Which options a program was compiled with."""

OPTION = "xla_gpu_deterministic_ops"


def is_deterministic(jitted, *arguments):
  """Returns whether the jitted function is compiled with deterministic operations for these arguments."""
  return OPTION.encode() in jitted.lower(*arguments).compile().runtime_executable().serialize()
