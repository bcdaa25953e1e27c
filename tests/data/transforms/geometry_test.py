"""Rotation and crop compared with PIL."""

import jax
import numpy as np
import pytest
from PIL import Image

from tireid_jax.data.transforms import geometry

# Smooth, so that rounding to a neighboring pixel makes a small difference, but without equal pixels.
ROWS, COLUMNS = np.mgrid[:48, :24]
PIXELS = np.stack([5 * ROWS, 10 * COLUMNS, 100 + ROWS + COLUMNS], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 7.3, -15, 90, 180, -131.7])
def test_rotation_matches_pil(degrees):
  out = np.asarray(geometry.rotate(PIXELS, degrees))
  expected = np.asarray(Image.fromarray(PIXELS).rotate(degrees))
  is_black = (out == 0).all(axis=-1)
  # PIL uses fixed-point numbers, so a position halfway between two pixels may be rounded to the other one.
  assert (is_black != (expected == 0).all(axis=-1)).mean() < 0.02
  assert (out != expected).any(axis=-1).mean() < 0.02


def test_rotating_a_square_by_90_degrees_is_exact():
  square = PIXELS[:24]
  np.testing.assert_array_equal(geometry.rotate(square, 90.0), np.rot90(square))


@pytest.mark.parametrize("window", [(0, 0, 48, 24), (3, 2, 40, 20), (40, 23, 8, 1), (0, 5, 17, 13)])
def test_a_crop_matches_pil_s_with_bilinear_resizing(window):
  top, left, height, width = window
  cropped = Image.fromarray(PIXELS).crop((left, top, left + width, top + height))
  expected = np.asarray(cropped.resize((24, 48), Image.Resampling.BILINEAR))
  out = jax.jit(geometry.crop)(PIXELS.astype(np.float32), *window)
  np.testing.assert_allclose(out, expected, atol=1.01)
