"""What holds for every test."""

import importlib.metadata
import os
import signal

from hypothesis import HealthCheck, settings

from tests.buckets import bucket  # noqa: F401

# Tests compile much and run little. Without LLVM's optimisation programs compile in half the time, and without the
# fusion emitters (JAX 0.12 has no others) in two thirds of that.
_FAST_COMPILE = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib") < "0.11":
  _FAST_COMPILE.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FAST_COMPILE))

# How long an example takes tells of the machine's load, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Of a command in the background a shell has SIGINT ignored, and a script cannot trap what was ignored when it began.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
  """Runs slow files first, so that no worker waits at the end for another that has just begun one."""
  items.sort(key=lambda item: item.get_closest_marker("slow") is None)
