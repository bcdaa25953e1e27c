"""Augmentation: exact where nothing is drawn, right in distribution where something is."""

import functools
import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tireid_jax.data import augment

OFF = {"flip": 0.0, "pad": 0, "erase_probability": 0.0, "erase_area": (0.02, 0.4), "erase_aspect": (0.3, 3.3)}
HEIGHT, WIDTH = 48, 24
MANY = 3000


@functools.partial(jax.jit, static_argnames=OFF)
def augmented(key, images, **settings):
  return augment.augment(key, images, **settings)


def random_images(num, size=(HEIGHT, WIDTH)):
  return jnp.asarray(np.random.default_rng(0).integers(0, 256, (num, *size, 3), dtype=np.uint8))


def pixels(normalised):
  """Returns the u8 image that normalises to this one."""
  return np.rint((np.asarray(normalised) * augment.STD + augment.MEAN) * 255).astype(int)


def test_normalise_gives_the_published_mean_and_deviation():
  values = np.array([[[0, 128, 255]]], np.uint8)
  expected = [(0 / 255 - 0.48145466) / 0.26862954, (128 / 255 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]
  np.testing.assert_allclose(augment.normalise(jnp.asarray(values))[0, 0], expected, rtol=1e-6)


def test_with_everything_off_it_is_normalise_to_the_bit():
  images = random_images(4)
  out = augmented(jax.random.key(0), images, **OFF)
  assert out.dtype == jnp.float32
  np.testing.assert_array_equal(out, jax.jit(augment.normalise)(images))


def test_a_row_depends_on_the_key_and_its_place_alone():
  images = random_images(8)
  settings = OFF | {"flip": 0.5, "pad": 3, "erase_probability": 0.5}
  whole = augmented(jax.random.key(1), images, **settings)
  np.testing.assert_array_equal(whole[:4], augmented(jax.random.key(1), images[:4], **settings))
  assert (whole != augmented(jax.random.key(2), images, **settings)).any()
  same_image = augmented(jax.random.key(1), jnp.tile(images[:1], (8, 1, 1, 1)), **settings)
  assert (same_image[0] != same_image[1]).any()


def test_flips_mirror_the_width_at_the_rate_asked_for():
  images = random_images(MANY, (2, 3))
  out = pixels(augmented(jax.random.key(0), images, **OFF | {"flip": 0.3}))
  is_flipped = (out == np.asarray(images)[:, :, ::-1]).all(axis=(1, 2, 3))
  is_kept = (out == np.asarray(images)).all(axis=(1, 2, 3))
  assert (is_flipped != is_kept).all()
  assert abs(is_flipped.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / MANY)


def test_shifts_reach_every_offset_equally_and_bring_in_black():
  pad = 2
  rows, columns = np.mgrid[1 : HEIGHT + 1, 1 : WIDTH + 1]
  image = np.stack([rows, columns, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
  out = pixels(augmented(jax.random.key(0), jnp.tile(image, (MANY, 1, 1, 1)), **OFF | {"pad": pad}))
  counts = np.zeros((2 * pad + 1, 2 * pad + 1))
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  for shifted in out:
    top, left = shifted[10, 10, :2] - image[10, 10, :2] + pad
    np.testing.assert_array_equal(shifted, padded[top : top + HEIGHT, left : left + WIDTH])
    counts[top, left] += 1
  assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def reference_rectangle(rng, area_range, aspect_range):
  """Returns (height, width) as torchvision's RandomErasing draws them, or None where it gives up."""
  for _ in range(10):
    area = HEIGHT * WIDTH * rng.uniform(*area_range)
    aspect = math.exp(rng.uniform(math.log(aspect_range[0]), math.log(aspect_range[1])))
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if height < HEIGHT and width < WIDTH:
      return height, width
  return None


# The last pair fits seldom, so that many images keep everything after ten attempts.
@pytest.mark.parametrize(("area", "aspect"), [((0.02, 0.4), (0.3, 3.3)), ((0.5, 1.0), (0.1, 10.0)), ((0.9, 1), (1, 9))])
def test_erased_rectangles_are_torchvision_s_in_rate_height_width_and_place(area, aspect):
  settings = OFF | {"erase_probability": 0.6, "erase_area": area, "erase_aspect": aspect}
  images = jnp.zeros((MANY, HEIGHT, WIDTH, 3), jnp.uint8)
  out = np.asarray(augmented(jax.random.key(3), images, **settings))
  is_mean = (out == np.float32(augment.MEAN)).all(axis=-1)
  np.testing.assert_array_equal(out[~is_mean], np.broadcast_to(out[~is_mean][0], out[~is_mean].shape))
  heights, widths = is_mean.any(axis=2).sum(axis=1), is_mean.any(axis=1).sum(axis=1)
  np.testing.assert_array_equal(is_mean.sum(axis=(1, 2)), heights * widths)  # one whole rectangle
  erased = np.flatnonzero(heights)
  rng = random.Random(0)
  wanted = [reference_rectangle(rng, area, aspect) for _ in range(2 * MANY)]
  fitting = np.array([rectangle for rectangle in wanted if rectangle])
  rate = 0.6 * len(fitting) / len(wanted)
  assert abs(len(erased) / MANY - rate) < 5 * math.sqrt(rate * (1 - rate) / MANY)
  assert stats.ks_2samp(heights[erased], fitting[:, 0]).pvalue > 1e-3
  assert stats.ks_2samp(widths[erased], fitting[:, 1]).pvalue > 1e-3
  tops = is_mean.any(axis=2).argmax(axis=1)[erased]
  # Uniform from 0 to HEIGHT - height: the middle of each place's cell is uniform from 0 to 1.
  places = (tops + np.random.default_rng(0).uniform(size=len(erased))) / (HEIGHT - heights[erased] + 1)
  assert stats.kstest(places, "uniform").pvalue > 1e-3


def test_erasing_comes_after_normalising():
  settings = OFF | {"erase_probability": 1.0, "erase_area": (0.2, 0.2), "erase_aspect": (1.0, 1.0)}
  out = np.asarray(augmented(jax.random.key(0), jnp.full((1, HEIGHT, WIDTH, 3), 255, jnp.uint8), **settings))
  values = np.unique(out.reshape(-1, 3), axis=0)
  expected = [augment.MEAN, augment.normalise(jnp.full((1, 1, 3), 255, jnp.uint8))[0, 0]]
  np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("setting", "value"),
  [("flip", 1.5), ("erase_probability", -0.1), ("pad", -1), ("erase_area", (0.4, 0.02)), ("erase_aspect", (0.0, 3.3))],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(setting, value):
  with pytest.raises(ValueError, match=f"augment.{setting} is"):
    augment.augment(jax.random.key(0), random_images(1), **OFF | {setting: value})
