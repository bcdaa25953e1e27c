"""A small workdir of a random model, and small pictures, for tests of the search."""

import dataclasses

import numpy as np
from PIL import Image

from tests import exports
from tests.models.trees import SMALL

SIZE = (32, 16)
VARIANT = dataclasses.replace(
  SMALL, vocabulary_size=49_408, end_token=49_407, text_length=77, patch_size=8, native_image_size=SIZE
)


def make_run(folder, **changes):
  """Writes a workdir of a random model with prompts, as of stage 2; returns it."""
  model, variables = exports.random_clip(SIZE, exports.PROMPTS, variant=dataclasses.replace(VARIANT, **changes))
  exports.write_run(folder, model, variables)
  return folder


def make_pictures(folder, names, seed=0):
  """Writes a picture of noise for each name below a folder; returns the folder."""
  rng = np.random.default_rng(seed)
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 20, 3), np.uint8)).save(folder / name)
  return folder
