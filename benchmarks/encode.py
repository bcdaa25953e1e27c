"""Measures images and captions per second of the encoders in evaluation: ViT-B/16 at 384x128, on the CPU.

  python -m benchmarks.encode

It times encoding a split in memory until the embeddings are in memory too, including normalisation, prefetching and
sorting captions by length. Captions come from the reference's script and are padded to the lengths of the config. Each
encoder is run once before timing, to compile it. Peak memory is that of the process. There are no prompts, as in the
reference. Prints a line of JSON.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks import measuring
from benchmarks.peer import synth
from configs import cuhk
from tireid_jax.data import tokenizer
from tireid_jax.data.prepared import splits
from tireid_jax.evaluation import embedding
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.training import initialization
from tireid_jax.training.model import build_model

VARIANT = VARIANTS["ViT-B/16"]


def parse():
  """Returns the parsed arguments."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", type=int, default=192)
  parser.add_argument("--captions", type=int, default=512, help="enough for a few batches of each length")
  parser.add_argument("--batch_size", type=int, default=32, help="images or captions per batch")
  parser.add_argument("--precision", default="float32", help="compute dtype: float32 or bfloat16")
  parser.add_argument("--repeat", type=int, default=1, help="timed runs of each encoder; the median is printed")
  return parser.parse_args()


def make_split(num_images, num_captions, image_size):
  """Returns a Split in memory: random pixels, and the captions of the reference's script."""
  captions = synth.captions(num_captions)
  person_id = np.arange(num_images, dtype=np.int32)
  return splits.Split(
    name="random",
    split="test",
    images=np.random.default_rng(0).integers(0, 256, (num_images, *image_size, 3), np.uint8),
    person_id=person_id,
    labels=person_id,
    num_identities=num_images,
    tokens=tokenizer.load_tokenizer("")(captions),
    caption_image=np.arange(num_captions, dtype=np.int32) % num_images,
    captions=captions,
    file_paths=[""] * num_images,
    fingerprint="",
  )


def rate(encode, num_examples, repeat):
  """Returns the images or captions per second of `encode`, after one call that is not timed."""
  encode()
  seconds = []
  for _ in range(repeat):
    began = time.perf_counter()
    encode()
    seconds.append(time.perf_counter() - began)
  return num_examples / measuring.spread(seconds)["median_s"]


def main():
  args = parse()
  measuring.forget_peak()
  config = cuhk.get_config()
  model = build_model(config, VARIANT, use_prompts=False, precision=args.precision)
  variables = jax.jit(lambda: initialization.random_variables(model, jax.random.key(0)))()
  encoders = embedding.Encoders(model, sharding.make_mesh(**config.mesh), args.batch_size)
  split = make_split(args.images, args.captions, config.data.image_size)
  lengths = config.data.caption_lengths
  images_per_s = rate(lambda: encoders.encode_images(variables, split), args.images, args.repeat)
  captions_per_s = rate(lambda: encoders.encode_captions(variables, split, lengths), args.captions, args.repeat)
  measuring.emit(
    bench="encode", system="tireid_jax", **vars(args), images_per_s=images_per_s, captions_per_s=captions_per_s,
    mean_tokens=float(tokenizer.token_lengths(split.tokens).mean()), peak_rss_mib=round(measuring.memory_mib("VmHWM")),
  )  # fmt: skip


if __name__ == "__main__":
  main()
