"""Augmentation: exact values where nothing is random, and correct distributions where something is."""

import functools
import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs import common
from tireid_jax.data.transforms import augment

DEFAULTS = common.base_config().stage2.augment.to_dict()
OFF = DEFAULTS | {"flip": 0.0, "pad": 0, "erase_probability": 0.0}
HEIGHT, WIDTH = 48, 24
MANY = 3000


@functools.partial(jax.jit, static_argnames=OFF)
def augmented(key, images, **settings):
  return augment.augment(key, images, **settings)


def random_images(num, size=(HEIGHT, WIDTH)):
  return jnp.asarray(np.random.default_rng(0).integers(0, 256, (num, *size, 3), dtype=np.uint8))


def pixels(normalised):
  """Returns the image, in values from 0 to 255, that normalises to this one."""
  return np.rint((np.asarray(normalised) * augment.STD + augment.MEAN) * 255).astype(int)


def test_normalise_uses_the_published_mean_and_standard_deviation():
  values = np.array([[[0, 128, 255]]], np.uint8)
  expected = [(0 / 255 - 0.48145466) / 0.26862954, (128 / 255 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]
  np.testing.assert_allclose(augment.normalise(jnp.asarray(values))[0, 0], expected, rtol=1e-6)


def test_with_everything_off_the_result_is_bit_equal_to_normalise():
  images = random_images(4)
  out = augmented(jax.random.key(0), images, **OFF)
  assert out.dtype == jnp.float32
  np.testing.assert_array_equal(out, jax.jit(augment.normalise)(images))


def test_disabled_augmentations_are_not_compiled():
  images = random_images(4)
  cost = augmented.lower(jax.random.key(0), images, **OFF).compile().cost_analysis()
  expected = jax.jit(lambda key, images: augment.normalise(images)).lower(jax.random.key(0), images)
  assert cost["flops"] == expected.compile().cost_analysis()["flops"]
  assert cost["bytes accessed"] == expected.compile().cost_analysis()["bytes accessed"]


def position_image(size=(HEIGHT, WIDTH)):
  """Returns u8[h, w, 3]: the row and column of each pixel, counted from 1, and 255, so that no pixel is black."""
  rows, columns = np.mgrid[1 : size[0] + 1, 1 : size[1] + 1]
  return np.stack([rows, columns, np.full_like(rows, 255)], axis=-1).astype(np.uint8)


def test_random_values_equal_those_of_earlier_versions():
  # So that results can be reproduced with a later version.
  images = jnp.tile(position_image(), (8, 1, 1, 1))
  whole = pixels(augmented(jax.random.key(0), images, **DEFAULTS | {"erase_probability": 0.0}))
  is_flipped = whole[:, 24, 13, 1] < whole[:, 24, 12, 1]
  columns = np.where(is_flipped, WIDTH + 1 - whole[:, 24, 12, 1], whole[:, 24, 12, 1])
  assert is_flipped.tolist() == [True, False, True, False, False, False, True, True]
  assert (whole[:, 24, 12, 0] - 25 + 10).tolist() == [8, 19, 18, 3, 1, 11, 14, 19]
  assert (columns - 13 + 10).tolist() == [18, 7, 5, 18, 9, 6, 16, 14]
  erased = (np.asarray(augmented(jax.random.key(0), images, **DEFAULTS)) == np.float32(augment.MEAN)).all(axis=-1)
  rectangles = [(*np.argwhere(mask).min(axis=0), *np.ptp(np.argwhere(mask), axis=0) + 1) for mask in erased[[0, 3, 4]]]
  assert np.array(rectangles).tolist() == [[18, 10, 10, 10], [6, 12, 34, 11], [17, 8, 31, 12]]
  assert not erased[[1, 2, 5, 6, 7]].any()


def test_an_example_depends_only_on_the_key_and_its_index():
  images = random_images(8)
  settings = OFF | {"flip": 0.5, "pad": 3, "erase_probability": 0.5}
  whole = augmented(jax.random.key(1), images, **settings)
  np.testing.assert_array_equal(whole[:4], augmented(jax.random.key(1), images[:4], **settings))
  assert (whole != augmented(jax.random.key(2), images, **settings)).any()
  same_image = augmented(jax.random.key(1), jnp.tile(images[:1], (8, 1, 1, 1)), **settings)
  assert (same_image[0] != same_image[1]).any()


def test_flips_mirror_the_width_at_the_requested_rate():
  images = random_images(MANY, (2, 3))
  out = pixels(augmented(jax.random.key(0), images, **OFF | {"flip": 0.3}))
  is_flipped = (out == np.asarray(images)[:, :, ::-1]).all(axis=(1, 2, 3))
  is_kept = (out == np.asarray(images)).all(axis=(1, 2, 3))
  assert (is_flipped != is_kept).all()
  assert abs(is_flipped.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / MANY)


def test_shifts_are_uniform_over_all_offsets_and_fill_with_black():
  pad = 2
  image = position_image()
  out = pixels(augmented(jax.random.key(0), jnp.tile(image, (MANY, 1, 1, 1)), **OFF | {"pad": pad}))
  counts = np.zeros((2 * pad + 1, 2 * pad + 1))
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  for shifted in out:
    top, left = shifted[10, 10, :2] - image[10, 10, :2] + pad
    np.testing.assert_array_equal(shifted, padded[top : top + HEIGHT, left : left + WIDTH])
    counts[top, left] += 1
  assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def spread(values, highest):
  """Returns f[N], uniform from 0 to 1 if the integers `values` are uniform from 0 to `highest`."""
  return (values + np.random.default_rng(0).uniform(size=len(values))) / (highest + 1)


def reference_rectangle(rng, area_range, aspect_range):
  """Samples (height, width) like torchvision's RandomErasing, or returns None if no attempt fits."""
  for _ in range(10):
    area = HEIGHT * WIDTH * rng.uniform(*area_range)
    aspect = math.exp(rng.uniform(math.log(aspect_range[0]), math.log(aspect_range[1])))
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if height < HEIGHT and width < WIDTH:
      return height, width
  return None


# The last pair rarely fits, so many images remain unchanged after ten attempts.
@pytest.mark.parametrize(("area", "aspect"), [((0.02, 0.4), (0.3, 3.3)), ((0.5, 1.0), (0.1, 10.0)), ((0.9, 1), (1, 9))])
def test_erased_rectangles_match_torchvision_s_in_rate_size_and_position(area, aspect):
  settings = OFF | {"erase_probability": 0.6, "erase_area": area, "erase_aspect": aspect}
  images = jnp.zeros((MANY, HEIGHT, WIDTH, 3), jnp.uint8)
  out = np.asarray(augmented(jax.random.key(3), images, **settings))
  is_mean = (out == np.float32(augment.MEAN)).all(axis=-1)
  np.testing.assert_array_equal(out[~is_mean], np.broadcast_to(out[~is_mean][0], out[~is_mean].shape))
  heights, widths = is_mean.any(axis=2).sum(axis=1), is_mean.any(axis=1).sum(axis=1)
  np.testing.assert_array_equal(is_mean.sum(axis=(1, 2)), heights * widths)  # a single rectangle
  erased = np.flatnonzero(heights)
  rng = random.Random(0)
  expected = [reference_rectangle(rng, area, aspect) for _ in range(2 * MANY)]
  fitting = np.array([rectangle for rectangle in expected if rectangle])
  rate = 0.6 * len(fitting) / len(expected)
  assert abs(len(erased) / MANY - rate) < 5 * math.sqrt(rate * (1 - rate) / MANY)
  assert stats.ks_2samp(heights[erased], fitting[:, 0]).pvalue > 1e-3
  assert stats.ks_2samp(widths[erased], fitting[:, 1]).pvalue > 1e-3
  assert stats.ks_2samp((heights * widths)[erased], fitting.prod(axis=1)).pvalue > 1e-3
  assert stats.ks_2samp((heights / np.maximum(widths, 1))[erased], fitting[:, 0] / fitting[:, 1]).pvalue > 1e-3
  tops, lefts = is_mean.any(axis=2).argmax(axis=1)[erased], is_mean.any(axis=1).argmax(axis=1)[erased]
  assert stats.kstest(spread(tops, HEIGHT - heights[erased]), "uniform").pvalue > 1e-3
  assert stats.kstest(spread(lefts, WIDTH - widths[erased]), "uniform").pvalue > 1e-3


def test_rotation_angles_are_uniform_in_both_directions():
  images = jnp.tile(position_image((41, 41)), (MANY // 3, 1, 1, 1))
  out = pixels(augmented(jax.random.key(0), images, **OFF | {"rotation": 90.0}))
  down, right = out[:, 39, 20, 0] - 21, out[:, 39, 20, 1] - 21  # source of the pixel 19 below the center
  angles = np.degrees(np.arctan2(-right, down))
  assert stats.kstest(angles, stats.uniform(-90, 180).cdf).pvalue > 1e-3


def reference_crop(rng, area_range, aspect_range):
  """Samples (height, width) like torchvision's RandomResizedCrop of a square, scaled to the shape of this image."""
  for _ in range(10):
    area = rng.uniform(*area_range)
    aspect = math.exp(rng.uniform(math.log(aspect_range[0]), math.log(aspect_range[1])))
    height, width = round(HEIGHT * math.sqrt(area / aspect)), round(WIDTH * math.sqrt(area * aspect))
    if 0 < height <= HEIGHT and 0 < width <= WIDTH:
      return height, width
  return HEIGHT, WIDTH


@pytest.mark.parametrize("area", [(0.2, 1.0), (0.9, 1.0)])
def test_crops_match_torchvision_s_in_size_and_position(area):
  image = position_image() * np.array([5, 10, 1], np.uint8)
  out = augmented(jax.random.key(0), jnp.tile(image, (MANY, 1, 1, 1)), **OFF | {"crop_area": area})
  values = (np.asarray(out) * augment.STD + augment.MEAN) * 255 / [5, 10, 1] - 1  # rows, columns from 0
  # Values are linear except near the borders.
  low, high = values[:, HEIGHT // 4, WIDTH // 4, :2], values[:, 3 * HEIGHT // 4, 3 * WIDTH // 4, :2]
  sizes = np.rint((high - low) * 2).astype(int)
  centers = values[:, HEIGHT // 2, WIDTH // 2, :2]
  starts = np.rint(centers + 0.5 - (np.array([HEIGHT, WIDTH]) / 2 + 0.5) * sizes / [HEIGHT, WIDTH]).astype(int)
  rng = random.Random(0)
  expected = np.array([reference_crop(rng, area, DEFAULTS["crop_aspect"]) for _ in range(2 * MANY)])
  for axis, size in enumerate((HEIGHT, WIDTH)):
    assert stats.ks_2samp(sizes[:, axis], expected[:, axis]).pvalue > 1e-3
    assert stats.kstest(spread(starts[:, axis], size - sizes[:, axis]), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("setting", ["grey_probability", "blur_probability", "jitter_probability"])
def test_color_changes_at_the_requested_rate_without_affecting_other_random_values(setting):
  images = random_images(MANY, (4, 3))
  settings = OFF | {"flip": 0.5, "brightness": 0.5, "jitter_probability": 0.0}
  plain = augmented(jax.random.key(0), images, **settings)
  out = augmented(jax.random.key(0), images, **settings | {setting: 0.3})
  is_changed = (np.abs(out - plain) > 1e-5).any(axis=(1, 2, 3))
  # Blur with a small sigma does not change an image.
  rate = 0.3 * ((2.0 - 0.2) / (2.0 - 0.1) if setting == "blur_probability" else 1)
  assert abs(is_changed.mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / MANY)


def test_the_sigma_of_blur_is_uniform():
  image = np.zeros((1, 27, 1, 3), np.uint8)
  image[0, 13] = 255
  settings = OFF | {"blur_probability": 1.0, "blur_sigma": (1.0, 2.0)}
  out = np.asarray(augmented(jax.random.key(0), jnp.tile(image, (MANY, 1, 1, 1)), **settings))
  highest = (out * augment.STD + augment.MEAN)[:, 13, 0, 0]
  sigmas = np.linspace(1, 2, 200)
  weights = np.exp(-0.5 * (np.arange(-6, 7)[:, None] / sigmas) ** 2).sum(axis=0)
  sampled = np.interp(-highest, -1 / weights, sigmas)
  assert stats.kstest(sampled, stats.uniform(1, 1).cdf).pvalue > 1e-3


def test_erasing_comes_after_normalising():
  settings = OFF | {"erase_probability": 1.0, "erase_area": (0.2, 0.2), "erase_aspect": (1.0, 1.0)}
  out = np.asarray(augmented(jax.random.key(0), jnp.full((1, HEIGHT, WIDTH, 3), 255, jnp.uint8), **settings))
  values = np.unique(out.reshape(-1, 3), axis=0)
  expected = [augment.MEAN, augment.normalise(jnp.full((1, 1, 3), 255, jnp.uint8))[0, 0]]
  np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("setting", "value"),
  [
    ("flip", 1.5),
    ("erase_probability", -0.1),
    ("pad", -1),
    ("erase_area", (0.4, 0.02)),
    ("erase_aspect", (0.0, 3.3)),
    ("erase_area", (0.4,)),
    ("rotation", -15.0),
    ("crop_area", (0.9, 1.1)),
    ("crop_aspect", (1.1, 1.3)),
    ("brightness", -0.1),
    ("hue", 0.6),
    ("jitter_probability", 2.0),
    ("blur_sigma", (0.0, 2.0)),
  ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(setting, value):
  with pytest.raises(ValueError, match=f"augment.{setting} is"):
    augment.augment(jax.random.key(0), random_images(1), **OFF | {setting: value})
