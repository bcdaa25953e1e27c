"""Measures time and memory of a training step: ViT-B/16 at 384x128, on the CPU.

  python -m benchmarks.step --stage=2 --batch_size=8

It times the project's own compiled step, augmentation included, from a batch in memory until its losses are available,
excluding the first steps. Peak memory is that of the process, including imports and compilation.

The matrix rate is the FLOPs of the matrix products, without recomputation, divided by the time of the step. The model's
rate also counts the products that the last block skips for all tokens but the pooled one. Both are compared with the
best rate that a single float32 product of the model's shapes reaches in the same process.

The model's prompts are those of the reference's script: none in stage 2, and 8 in the first block of each encoder in
stage 1, where they replace 8 of the 77 caption tokens. Prints a line of JSON.
"""

import argparse
import itertools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measuring
from configs import cuhk
from tireid_jax.models.variants import VARIANTS, patch_grid
from tireid_jax.parallel import sharding
from tireid_jax.plan import costs, hlo
from tireid_jax.training import initialization, stages
from tireid_jax.training.program import Program

VARIANT = VARIANTS["ViT-B/16"]
NUM_IDENTITIES = 11_003  # of CUHK-PEDES' training split
STEPS_PER_EPOCH = 1_000
NUM_PROMPTS = 8
WARM_UP = 3


def parse():
  """Returns the parsed arguments."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--stage", type=int, default=2)
  parser.add_argument("--batch_size", type=int, default=8, help="captions, each with its image")
  parser.add_argument("--captions_per_image", type=int, default=1, help="more: grouped images, encoded once")
  parser.add_argument("--caption_length", type=int, default=0, help="tokens; 0: 77 including prompts")
  parser.add_argument("--prompt_length", type=int, default=-1, help="prompts per block; -1: as in the reference")
  parser.add_argument("--prompt_depth", type=int, default=1, help="blocks with prompts")
  parser.add_argument("--losses", default="sdm,identity", help="losses, equally weighted; stage 1 always uses sdm")
  parser.add_argument("--precision", default="float32", help="compute dtype: float32 or bfloat16")
  parser.add_argument("--blocks", default="auto")
  parser.add_argument("--remat", default="auto")
  parser.add_argument("--steps", type=int, default=5)
  return parser.parse_args()


def configured(args):
  """Returns (config, Stage)."""
  config = cuhk.get_config()
  length = args.prompt_length if args.prompt_length >= 0 else NUM_PROMPTS * (args.stage == 1)
  config.prompts.update(image_length=length, text_length=length, depth=args.prompt_depth)
  config.model.update(blocks=args.blocks, remat=args.remat)
  fields = config[f"stage{args.stage}"]
  fields.update(batch_size=args.batch_size, precision=args.precision)
  losses = args.losses.split(",") if args.stage == 2 else ["sdm"]
  fields.losses.update({name: float(name in losses) for name in fields.losses})
  if args.captions_per_image > 1:
    fields.sampler.update(kind="images", captions_per_image=args.captions_per_image)
  return config, stages.from_config(config, args.stage)


def random_batch(args, config):
  """Returns a batch like those of the data loader, with captions of realistic length, padded to the same length."""
  rng = np.random.default_rng(0)
  length = args.caption_length or VARIANT.text_length - (config.prompts.text_length if args.stage == 1 else 0)
  tokens = rng.integers(1, VARIANT.end_token - 1, (args.batch_size, length), np.int32)
  ends = rng.integers(min(26, length - 1), length, (args.batch_size, 1))
  positions = np.arange(length)
  tokens[positions == ends] = VARIANT.end_token
  tokens[positions > ends] = 0
  num_images = args.batch_size // args.captions_per_image
  return {
    "images": rng.integers(0, 256, (num_images, *config.data.image_size, 3), np.uint8),
    "tokens": tokens,
    "person_id": rng.integers(0, NUM_IDENTITIES, num_images, np.int32).repeat(args.captions_per_image),
  }


def towers(model, batch):
  """Yields (Tower, sequences in the batch, their length) of each encoder."""
  variant, prompts = model.variant, model.prompts
  num_patches = math.prod(patch_grid(model.image_size, variant.patch_size))
  num_captions, length = batch["tokens"].shape
  image_length, text_length = prompts.sequence_lengths(1 + num_patches, length)
  yield variant.image, len(batch["images"]), image_length
  yield variant.text, num_captions, text_length


def recomputed_scores(model, batch):
  """Returns the FLOPs of recomputing the attention scores in the backward pass, which saves storing them."""
  if model.execution.dtype != jnp.float32:
    return 0
  return sum(
    2 * num_sequences * length**2 * tower.width * (tower.num_blocks - 1)
    for tower, num_sequences, length in towers(model, batch)
  )


def skipped_flops(model, batch, passes):
  """Returns the FLOPs that the last blocks skip for all tokens but the pooled one.

  Args:
    model, batch: of the step.
    passes: 1 for the forward pass, plus 1 for activation gradients and 1 for weight gradients.
  """
  total = 0
  for tower, num_sequences, length in towers(model, batch):
    products = 2 * tower.width * (2 * tower.width + 2 * tower.mlp_width)  # query, out; fc, proj
    attention = 2 * 2 * length * tower.width
    total += num_sequences * (length - 1) * (passes * products + (3 if passes > 1 else 1) * attention)
  return total


def best_rate(batch_size):
  """Returns the highest FLOP/s of a single matrix product of the model's shapes, forward or backward."""
  best = 0.0
  for tower, length in ((VARIANT.image, 193), (VARIANT.text, VARIANT.text_length)):
    sizes = {batch_size * length, tower.width, tower.mlp_width}
    for rows, depth, columns in itertools.permutations(sizes, 3):
      left, right = jnp.ones((rows, depth)), jnp.ones((depth, columns))
      product = jax.jit(jnp.matmul)
      jax.block_until_ready(product(left, right))
      seconds = []
      for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(product(left, right))
        seconds.append(time.perf_counter() - began)
      best = max(best, 2 * rows * depth * columns / min(seconds))
  return best


def main():
  args = parse()
  measuring.forget_peak()
  config, stage = configured(args)
  mesh = sharding.make_mesh(**config.mesh)
  program = Program(
    config, stage, VARIANT, mesh, num_identities=NUM_IDENTITIES, steps_per_epoch=STEPS_PER_EPOCH
  )  # fmt: skip
  initialize = jax.jit(lambda: initialization.random_variables(program.model, program.key, program.num_identities))
  state = program.first_state(initialize())
  batch = sharding.put_batch(mesh, random_batch(args, config))
  began = time.perf_counter()
  lowered = program.step().lower(program.shapes, batch)
  flops = costs.matrix_flops(hlo.Module(lowered.as_text(dialect="hlo")))
  flops -= recomputed_scores(program.model, batch)
  model_flops = flops + skipped_flops(program.model, batch, 3 if "params" in stage.trains else 2)
  step = lowered.compile()
  compile_seconds = time.perf_counter() - began
  seconds = []
  for _ in range(WARM_UP + args.steps):
    began = time.perf_counter()
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    seconds.append(time.perf_counter() - began)
  jax.block_until_ready(state)
  whole = measuring.spread(seconds[WARM_UP:])
  peak = measuring.memory_mib("VmHWM")
  rate, best = flops / whole["median_s"], best_rate(args.batch_size)
  measuring.emit(
    bench="step", system="tireid_jax", **vars(args), **whole,
    examples_per_s=args.batch_size / whole["median_s"], peak_rss_mib=round(peak),
    temporaries_mib=round(step.memory_analysis().temp_size_in_bytes / 2**20), compile_s=round(compile_seconds, 1),
    gflop=round(flops / 1e9), gflop_per_s=round(rate / 1e9, 1), best_gflop_per_s=round(best / 1e9, 1),
    share_of_best=round(rate / best, 3), model_gflop=round(model_flops / 1e9),
    model_share_of_best=round(model_flops / whole["median_s"] / best, 3), loss=float(metrics["loss/total"]),
  )  # fmt: skip


if __name__ == "__main__":
  main()
