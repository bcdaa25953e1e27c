"""Pictures of a page shrink until all of them fit."""

import numpy as np

from tireid_jax.reporting import page, thumbnails

NOISE = [np.random.default_rng(seed).integers(0, 256, (300, 100, 3), np.uint8) for seed in range(3)]


def num_bytes(size):
  return sum(len(page.jpeg_uri(image, size.quality, size.height)) for image in NOISE)


def test_the_largest_size_is_chosen_at_which_all_images_fit():
  for size, smaller in zip(thumbnails.SIZES, thumbnails.SIZES[1:], strict=False):
    assert num_bytes(smaller) < num_bytes(size)
    assert thumbnails.choose_size(NOISE, num_bytes(size)) == size
    assert thumbnails.choose_size(NOISE, num_bytes(size) - 1) == smaller
  assert thumbnails.choose_size(NOISE, 0) == thumbnails.SIZES[-1]
  assert thumbnails.choose_size([], 0) == thumbnails.SIZES[0]
