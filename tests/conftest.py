"""Settings for all tests."""

import importlib.metadata
import os
import signal

from hypothesis import HealthCheck, settings

from tests.buckets import bucket  # noqa: F401

# Tests spend more time on compiling programs than on running them. Without LLVM optimisations, compilation takes half
# the time, and without the fusion emitters, which JAX 0.12 always uses, two thirds of that.
_FAST_COMPILE = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib") < "0.11":
  _FAST_COMPILE.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FAST_COMPILE))

# The duration of an example depends on the load of the machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell ignores SIGINT for background commands, and a script cannot trap a signal that was ignored at its start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
  """Runs slow files first, so that no worker starts one when the others are finished."""
  items.sort(key=lambda item: item.get_closest_marker("slow") is None)
