"""What holds for every test."""

import os
import signal

from hypothesis import HealthCheck, settings

from tests.buckets import bucket  # noqa: F401

# Tests compile much and run little; without LLVM's optimisation, programs compile in half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# How long an example takes tells of the machine's load, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Of a command in the background a shell has SIGINT ignored, and a script cannot trap what was ignored when it began.
signal.signal(signal.SIGINT, signal.default_int_handler)
