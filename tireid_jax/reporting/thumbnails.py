"""The size at which a page shows its pictures, so that all of them fit a number of bytes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tireid_jax.reporting import page


class Size(NamedTuple):
  """Pixels of a thumbnail's height, and the quality of its JPEG file."""

  height: int
  quality: int


# The largest is twice the height at which a page shows a person.
SIZES = (Size(256, 90), Size(192, 85), Size(144, 80), Size(112, 75), Size(80, 70), Size(56, 65))


def choose_size(images: Sequence[np.ndarray], max_bytes: int) -> Size:
  """Returns the largest of SIZES at which the images, u8[h, w, 3] each, take at most `max_bytes` of a page.

  If none is small enough, it returns the smallest: a page has a few hundred pictures at most.
  """
  for size in SIZES[:-1]:
    if sum(len(page.jpeg_uri(image, size.quality, size.height)) for image in images) <= max_bytes:
      return size
  return SIZES[-1]
