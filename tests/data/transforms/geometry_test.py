"""Rotation and crop against PIL."""

import jax
import numpy as np
import pytest
from PIL import Image

from tireid_jax.data.transforms import geometry

# Smooth, so that a neighbouring pixel taken by rounding is a small difference, but no two pixels are alike.
ROWS, COLUMNS = np.mgrid[:48, :24]
PIXELS = np.stack([5 * ROWS, 10 * COLUMNS, 100 + ROWS + COLUMNS], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 7.3, -15, 90, 180, -131.7])
def test_rotation_is_pil_s(degrees):
  out = np.asarray(geometry.rotate(PIXELS, degrees))
  expected = np.asarray(Image.fromarray(PIXELS).rotate(degrees))
  is_black = (out == 0).all(axis=-1)
  # PIL counts in fixed point, so a place half-way between two pixels may be rounded to the other.
  assert (is_black != (expected == 0).all(axis=-1)).mean() < 0.02
  assert (out != expected).any(axis=-1).mean() < 0.02


def test_a_quarter_turn_of_a_square_is_exact():
  square = PIXELS[:24]
  np.testing.assert_array_equal(geometry.rotate(square, 90.0), np.rot90(square))


@pytest.mark.parametrize("window", [(0, 0, 48, 24), (3, 2, 40, 20), (40, 23, 8, 1), (0, 5, 17, 13)])
def test_a_crop_is_pil_s_resized_bilinear(window):
  top, left, height, width = window
  cropped = Image.fromarray(PIXELS).crop((left, top, left + width, top + height))
  expected = np.asarray(cropped.resize((24, 48), Image.Resampling.BILINEAR))
  out = jax.jit(geometry.crop)(PIXELS.astype(np.float32), *window)
  np.testing.assert_allclose(out, expected, atol=1.01)
