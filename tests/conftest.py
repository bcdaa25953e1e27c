"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# Tests compile much and run little; without LLVM's optimisation, programs compile in half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# How long an example takes tells of the machine's load, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
