"""Which part of the person each pixel of a ToyPEDES image shows: the images are drawn again with their labels."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tireid_jax.data.toy.attributes import SPLITS, sample_people
from tireid_jax.data.toy.camera import CAMERAS, paint
from tireid_jax.data.toy.write import SETTINGS, image_path, shots
from tireid_jax.errors import naming


def part_maps(root: str | os.PathLike, split: str) -> Iterator[tuple[str, UInt8[np.ndarray, "160 64"]]]:
  """Yields (path, labels) of each image of a split, in the order of the annotations.

  Args:
    root: folder of ToyPEDES, with its settings.json.
    split: "train", "val" or "test".

  Labels are those of `canvas.PART_NUMBERS`. The image file may have another size, but shows the same section.
  """
  with naming(Path(root) / SETTINGS):
    settings = json.loads((Path(root) / SETTINGS).read_text())
  counts = {name: settings[f"num_{name}_ids"] for name in SPLITS}
  first = 1 + sum(counts[name] for name in SPLITS[: SPLITS.index(split)])
  for index, person in enumerate(sample_people(settings["seed"], counts)[split]):
    for shot, (camera, rng) in enumerate(shots(settings["seed"], split, index, settings["images_per_id"])):
      yield image_path(camera, first + index, shot), np.asarray(paint(rng, person, CAMERAS[camera]).canvas.parts)
