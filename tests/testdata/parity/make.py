"""Makes clip.npz: what transformers' CLIPModel returns for the models and inputs that `tests.models.parity` draws.

From the repository's root: .venv-parity/bin/python -m tests.testdata.parity.make
"""

import pathlib

import numpy as np

from tests.models import parity
from tests.parity import reference

if __name__ == "__main__":
  arrays = {}
  for name, variant in parity.STORED.items():
    for seed in parity.STORED_SEEDS:
      model = reference.clip_model(variant, parity.random_tensors(variant, seed))
      found = reference.outputs(model, *parity.random_inputs(variant, seed))
      arrays |= {f"{name}_{seed}_{output}": values for output, values in found.items()}
      arrays[f"{name}_{seed}_drawn"] = parity.fingerprint(variant, seed)
  np.savez(pathlib.Path(__file__).parent / "clip.npz", **arrays)
