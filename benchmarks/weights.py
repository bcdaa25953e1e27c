"""Measures time and memory (Linux) of importing CLIP from a safetensors file of random weights in the page cache.

  python -m benchmarks.weights ViT-B/16 ViT-L/14

It times `pretrained.load` in a separate process, without imports of Python modules. Memory is the increase of the
process' peak, relative to the size of the file; JAX on the CPU holds the loaded variables in that memory too.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from safetensors.numpy import save_file

from tireid_jax.exporting import encoders
from tireid_jax.models import pretrained
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.variants import VARIANTS
from tireid_jax.models.weights import leaves

_GIB = 2**30


def write_weights(folder, name):
  """Writes `config.json` and `model.safetensors` of a variant, random, and returns the size of the latter in bytes."""
  variant = VARIANTS[name]
  model = CLIP(variant, variant.native_image_size)
  params = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))["params"]
  rng = np.random.default_rng(0)
  tensors = {
    tensor: rng.random(leaf.stored_shape, np.float32)
    for leaf in jax.tree.leaves(leaves.leaves(params))
    for tensor in leaf.names
  }
  file = folder / "model.safetensors"
  save_file(tensors, file)
  (folder / "config.json").write_text(json.dumps(encoders.clip_config(model)))
  return file.stat().st_size


def load(folder):
  """Loads in this process and prints a line of JSON."""
  # Resets the peak, which a process inherits from its parent.
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  before, began = _resident_bytes("VmRSS"), time.monotonic()
  variables = jax.block_until_ready(pretrained.load(folder)[1])
  seconds = time.monotonic() - began
  num_weights = sum(leaf.size for leaf in jax.tree.leaves(variables))
  print(json.dumps({"seconds": seconds, "peak_bytes": _resident_bytes("VmHWM") - before, "weights": num_weights}))


def _resident_bytes(field):
  """Returns the current memory of this process (VmRSS) or its peak (VmHWM), as Linux reports it."""
  status = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(next(line for line in status.splitlines() if line.startswith(f"{field}:")).split()[1])


def main(names):
  print(f"{'model':14}{'file, GiB':>12}{'seconds':>10}{'peak, GiB':>12}{'peak / file':>13}")
  for name in names:
    with tempfile.TemporaryDirectory() as folder:
      size = write_weights(pathlib.Path(folder), name)
      done = subprocess.run(
        [sys.executable, "-m", "benchmarks.weights", f"--load={folder}"], capture_output=True, text=True, check=True
      )
    found = json.loads(done.stdout.splitlines()[-1])
    peak = found["peak_bytes"]
    print(f"{name:14}{size / _GIB:12.2f}{found['seconds']:10.1f}{peak / _GIB:12.2f}{peak / size:13.2f}", flush=True)


if __name__ == "__main__":
  if sys.argv[1:] and sys.argv[1].startswith("--load="):
    load(sys.argv[1].removeprefix("--load="))
  else:
    main(sys.argv[1:] or ["ViT-B/16", "ViT-L/14"])
