"""Color changes compared with PIL, colorsys, SciPy and NumPy, and the distribution of jitter."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from tireid_jax.data.transforms import color

MANY = 1000
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
# PIL rounds to whole values before or after a change.
ROUNDING = 1.01 / 255


def unit(pixels):
  return np.asarray(pixels, np.float32) / 255


def jittered(pixels, **spreads):
  """Returns f32[MANY, h, w, 3]: MANY random jitters of an image f32[h, w, 3]."""
  settings = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0} | spreads
  keys = jax.random.split(jax.random.key(0), MANY)
  return np.asarray(jax.jit(jax.vmap(lambda key: color.jitter(key, jnp.asarray(pixels), **settings)))(keys))


def test_grey_uses_pil_s_weights():
  expected = np.asarray(Image.fromarray(PIXELS).convert("L"))
  np.testing.assert_allclose(color.grey(unit(PIXELS)), np.stack([unit(expected)] * 3, axis=-1), atol=ROUNDING)


@pytest.mark.parametrize(
  ("change", "enhance"),
  [
    (color.brighten, ImageEnhance.Brightness),
    (color.change_contrast, ImageEnhance.Contrast),
    (color.saturate, ImageEnhance.Color),
  ],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_factors_have_the_same_effect_as_in_pil(change, enhance, factor):
  expected = np.asarray(enhance(Image.fromarray(PIXELS)).enhance(factor))
  np.testing.assert_allclose(change(unit(PIXELS), factor), unit(expected), atol=2 * ROUNDING)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.25, 0.5])
def test_shifting_the_hue_matches_colorsys(shift):
  greys_and_pure = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
  pixels = np.concatenate([PIXELS.reshape(-1, 3), np.array(greys_and_pure)])
  expected = []
  for pixel in unit(pixels):
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    expected.append(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
  np.testing.assert_allclose(color.shift_hue(unit(pixels)[None], shift)[0], expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_blur_matches_scipy_s_with_mirrored_borders(sigma):
  expected = ndimage.gaussian_filter(unit(PIXELS), sigma, axes=(0, 1), mode="mirror", radius=6)
  np.testing.assert_allclose(color.blur(unit(PIXELS), sigma, radius=6), expected, atol=1e-5)


def test_the_brightness_factor_is_uniform():
  out = jittered(np.full((1, 1, 3), 0.4), brightness=0.5)
  assert stats.kstest(out[:, 0, 0, 0] / 0.4, stats.uniform(0.5, 1).cdf).pvalue > 1e-3


def test_a_spread_above_1_gives_no_negative_factor():
  out = jittered(np.full((1, 1, 3), 0.2), brightness=1.5)
  assert stats.kstest(out[:, 0, 0, 0] / 0.2, stats.uniform(0, 2.5).cdf).pvalue > 1e-3


def test_the_contrast_factor_is_uniform():
  out = jittered(np.array([[[0.4] * 3, [0.6] * 3]]), contrast=0.5)
  assert stats.kstest((out[:, 0, 1, 0] - out[:, 0, 0, 0]) / 0.2, stats.uniform(0.5, 1).cdf).pvalue > 1e-3


def test_the_saturation_factor_is_uniform():
  out = jittered(np.array([[[0.6, 0.4, 0.5]]]), saturation=0.5)
  assert stats.kstest((out[:, 0, 0, 0] - out[:, 0, 0, 1]) / 0.2, stats.uniform(0.5, 1).cdf).pvalue > 1e-3


def test_the_shift_of_the_hue_is_uniform():
  out = jittered(np.array([[[0.2, 0.8, 0.8]]]), hue=0.3)  # cyan, whose hue is 0.5
  hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in out[:, 0, 0]]
  assert stats.kstest(hues, stats.uniform(0.2, 0.6).cdf).pvalue > 1e-3


def test_jitter_without_spread_does_not_change_the_image():
  np.testing.assert_array_equal(jittered(unit(PIXELS))[0], unit(PIXELS))


def test_each_order_of_changes_is_equally_frequent():
  spread = {"brightness": 0.9, "contrast": 0.9}
  brightness = jittered(np.full((1, 1, 3), 0.4), brightness=0.9)[:, 0, 0, 0] / 0.4
  contrast = np.ptp(jittered(np.array([[[0.45] * 3, [0.55] * 3]]), contrast=0.9)[:, 0, :, 0], axis=1) / 0.1

  def change_contrast(values):
    return np.clip(contrast[:, None] * values + (1 - contrast[:, None]) * values.mean(axis=1, keepdims=True), 0, 1)

  # The order matters near black and white, because of clipping.
  values = np.tile([0.1, 0.5, 0.9], (MANY, 1))
  out = jittered(np.repeat(values[:1, :, None], 3, axis=2), **spread)[:, 0, :, 0]
  brightness_first = change_contrast(np.clip(brightness[:, None] * values, 0, 1))
  contrast_first = np.clip(brightness[:, None] * change_contrast(values), 0, 1)
  matters = np.abs(brightness_first - contrast_first).max(axis=1) > 1e-3
  is_first, is_second = (np.abs(out - expected).max(axis=1) < 1e-5 for expected in (brightness_first, contrast_first))
  assert (is_first | is_second).all()
  assert stats.binomtest(int(is_first[matters].sum()), int(matters.sum())).pvalue > 1e-3
