"""Makes golden.npz: what benchmarks/gpu/cases.py computes on a CPU, for GPUs to be compared with.

From the repository's root: JAX_PLATFORMS=cpu .venv/bin/python -m tests.testdata.gpu.make
"""

import pathlib
import tempfile

import numpy as np

from benchmarks.gpu import cases
from tests.models import parity

# As in the short form, which compiles in seconds.
SHORT = {"variant": "tiny", "image_size": (96, 48)}


def compute():
  """Returns {"CASE/NAME": array}."""
  found = {}

  def add(case, values):
    found.update({f"{case}/{name}": np.asarray(value) for name, value in values.items()})

  for stage in ("stage1", "stage2"):
    add(stage, cases.steps(stage))
  for precision in ("float32", "bfloat16"):
    add(f"first_step_{precision}", cases.first_step(precision))
    add(f"short_first_step_{precision}", cases.first_step(precision, **SHORT))
  add("prompted", cases.prompted_embeddings())
  add("evaluation", cases.evaluation())
  for seed in parity.STORED_SEEDS:
    with tempfile.TemporaryDirectory() as folder:
      add(f"bfloat16_{seed}", cases.bfloat16_distances(pathlib.Path(folder), seed))
  return found


if __name__ == "__main__":
  np.savez_compressed(pathlib.Path(__file__).parent / "golden.npz", **compute())
