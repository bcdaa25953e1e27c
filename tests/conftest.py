"""What holds for every test."""

import os

# Tests compile much and run little; without LLVM's optimisation, programs compile in half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
