"""Settings for all tests."""

import importlib.metadata
import os
import signal

import pytest
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


@pytest.fixture(scope="module")
def shared_compilation_cache(tmp_path_factory):
  """Lets the runs of a file share their compiled programs."""
  import jax

  if jax.config.jax_compilation_cache_dir:
    yield
    return
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  yield
  jax.config.update("jax_compilation_cache_dir", None)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
