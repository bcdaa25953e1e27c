"""Measurements that include the host: reading batches, encoding a data set, and start-up."""

import os
import pathlib
import tempfile
import time

import jax
import numpy as np

from benchmarks import encode as encode_benchmark
from benchmarks import startup as startup_benchmark
from benchmarks.gpu import speed
from configs import cuhk
from tireid_jax.data import loader
from tireid_jax.evaluation import embedding
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.training import initialization
from tireid_jax.training.model import build_model


def loader_speed(variant, batch_size, num_images=2048, num_steps=20):
  """Returns the step time with batches from the training loader, and the time that the host spends on a batch.

  Images are read from memory, the default for a data set of this size, and captions are padded to 77 tokens, as in the
  step without loader. On a GPU no step may wait for data: "ok" means that the loader adds less than 2% to the step
  time. On a CPU, which computes and reads with the same cores, it is not checked.

  Args:
    variant: of models/variants.py.
    batch_size: pairs.
    num_images: of the split.
    num_steps: per timed window.
  """
  prepared = speed.Prepared(variant, 2, batch_size, 1, {})
  state = prepared.state()
  split = encode_benchmark.make_split(num_images, 2 * num_images, prepared.config.data.image_size)
  fixed = sharding.put_batch(prepared.mesh, prepared.batch)
  seconds, state, _ = speed.timed(prepared.step, state, fixed)
  with loader.Batches(split, batch_size, seed=0, caption_lengths=(77,)) as batches:
    waited, windows, number = 0.0, [], 0
    for window in range(speed.WINDOWS + 1):
      began = time.perf_counter()
      for _ in range(num_steps):
        requested = time.perf_counter()
        batch = sharding.put_batch(prepared.mesh, batches(number))
        waited += (time.perf_counter() - requested) * (window > 0)
        state, metrics = prepared.step(state, batch)
        number += 1
      jax.block_until_ready((state, metrics))
      windows.append((time.perf_counter() - began) / num_steps)
  alone, together = float(np.median(seconds)), float(np.median(windows[1:]))  # the first fills the queue
  return {
    **({"ok": together < 1.02 * alone} if jax.default_backend() == "gpu" else {}),
    "step_ms": round(1e3 * alone, 3),
    "step_with_loader_ms": round(1e3 * together, 3),
    "host_in_loader_ms": round(1e3 * waited / num_steps / speed.WINDOWS, 3),
    "cores": len(os.sched_getaffinity(0)),
  }


def encoding(variant, batch_size, num_images=4096, num_captions=16384, repeat=3):
  """Returns images/s and captions/s of evaluation, from a split in memory to embeddings in memory."""
  config = cuhk.get_config()
  config.model.variant = variant
  config.data.image_size = speed.IMAGE_SIZES.get(variant, config.data.image_size)
  towers = VARIANTS[variant].image, VARIANTS[variant].text
  config.prompts.depth = min(config.prompts.depth, *(tower.num_blocks for tower in towers))
  model = build_model(config, VARIANTS[variant], use_prompts=True, precision="auto")
  variables = jax.jit(lambda: initialization.random_variables(model, jax.random.key(0)))()
  encoders = embedding.Encoders(model, sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1]), batch_size)
  split = encode_benchmark.make_split(num_images, num_captions, config.data.image_size)
  lengths = config.data.caption_lengths
  return {
    "images_per_s": round(
      encode_benchmark.rate(lambda: encoders.encode_images(variables, split), num_images, repeat), 1
    ),
    "captions_per_s": round(
      encode_benchmark.rate(lambda: encoders.encode_captions(variables, split, lengths), num_captions, repeat), 1
    ),
  }


def startup():
  """Returns the seconds from the start of the command for stage 1 to its first step, with a cold and a warm cache."""
  from benchmarks import weights

  seconds = {}
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    (folder / "weights").mkdir()
    weights.write_weights(folder / "weights", startup_benchmark.VARIANT)
    startup_benchmark.write_data(folder)
    flags = startup_benchmark.commands(folder)["main"]
    # This process has allocated most of the GPU memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    for state in ("cold", "warm"):
      seconds[f"{state}_s"] = round(
        startup_benchmark.seconds_to_work("main", [*flags, f"--workdir={folder}/{state}"], folder / "cache"), 2
      )
  return seconds
