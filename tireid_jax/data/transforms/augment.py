"""Normalisation and augmentation of a batch of images, in JAX, inside the jitted step."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from tireid_jax import fields
from tireid_jax.data.transforms import color, geometry
from tireid_jax.fields import PROBABILITY, at_least, field, interval, must

# Channel means and standard deviations of CLIP's training images, for values from 0 to 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Samples of a rectangle's area and aspect before random erasing or cropping gives up, as in torchvision.
NUM_ATTEMPTS = 10

_FRACTIONS = interval("fractions above 0 and at most 1", lambda lowest, highest: 0 < lowest <= highest <= 1)
_POSITIVE = interval("above 0", lambda lowest, highest: 0 < lowest <= highest)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """The fields of `stageN.augment`: what is sampled for each training image.

  The last ten are off by default, as in IRRA. Brackets have the values of TBPS-CLIP, which applies two of its list to
  each image.
  """

  flip: float = field(0.5, "probability of a horizontal flip", PROBABILITY)
  pad: int = field(10, "pixels of black on each side before a random crop of the image's size", at_least(0))
  erase_probability: float = field(0.5, "probability of random erasing", PROBABILITY)
  erase_area: tuple[float, float] = field((0.02, 0.4), "(lowest, highest) fraction of the image to erase", _FRACTIONS)
  erase_aspect: tuple[float, float] = field((0.3, 3.3), "(lowest, highest) height over width", _POSITIVE)
  rotation: float = field(
    0.0, "maximum rotation in degrees in either direction [15]", must("from 0 to 180 degrees", lambda r: 0 <= r <= 180)
  )
  crop_area: tuple[float, float] = field(
    (1.0, 1.0), "(lowest, highest) fraction of the image that is cropped and resized [(0.9, 1)]", _FRACTIONS
  )
  crop_aspect: tuple[float, float] = field(
    (3 / 4, 4 / 3),
    "(lowest, highest) width over height of the crop, relative to the image's own",
    interval("ratios with 1 between them", lambda lowest, highest: 0 < lowest <= 1 <= highest),
  )
  brightness: float = field(0.0, "maximum distance of a random factor from 1 [0.1]", at_least(0))
  contrast: float = field(0.0, "likewise [0.1]", at_least(0))
  saturation: float = field(0.0, "likewise [0.1]", at_least(0))
  hue: float = field(
    0.0,
    "maximum shift in either direction, as a fraction of the color circle [0]",
    must("a fraction of the color circle from 0 to 0.5", lambda hue: 0 <= hue <= 0.5),
  )
  jitter_probability: float = field(1.0, "probability of the four above, together", PROBABILITY)
  grey_probability: float = field(0.0, "probability of conversion to grey [0.1]", PROBABILITY)
  blur_probability: float = field(0.0, "probability of Gaussian blur [0.5, but only in its second views]", PROBABILITY)
  blur_sigma: tuple[float, float] = field((0.1, 2.0), "(lowest, highest) sigma of the blur, pixels", _POSITIVE)

  def __post_init__(self):
    fields.check(Augmentation, vars(self), "augment.")

  @property
  def jitter(self) -> dict[str, float]:
    """The spreads that `color.jitter` takes, by name."""
    return {name: getattr(self, name) for name in ("brightness", "contrast", "saturation", "hue")}


def normalise(
  images: UInt8[Array | np.ndarray, "... h w 3"], *, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> Float[Array, "... h w 3"]:
  """Returns u8[..., h, w, 3] images as f32, standardised by the channel statistics of CLIP's training images."""
  return _standardise(_to_unit(images), mean, std).reshape(images.shape)


def augment(
  key: Array,
  images: UInt8[Array, "B h w 3"],
  indices: Int[Array, " B"] | None = None,
  *,
  mean: Sequence[float] = MEAN,
  std: Sequence[float] = STD,
  **settings: Any,
) -> Float[Array, "B h w 3"]:
  """Returns f32[B, h, w, 3] normalised images, each changed at random.

  As in the reference implementation, an image is flipped, padded with black and cropped back to its size, normalised,
  and then erased: the fill is the channel means, written into the normalised image. The augmentations of TBPS-CLIP come
  before normalisation, as defined by torchvision: rotation, a crop resized to the image, colour jitter, grey, blur. The
  randomness of image i depends only on `key` and indices[i], so the result does not depend on how the batch is
  sharded or divided into chunks. An augmentation that is off costs nothing and does not change the samples of the
  others.

  Args:
    key: random key of the step.
    images: u8[B, h, w, 3].
    indices: i32[B] positions of the images in the global batch; by default 0 to B - 1.
    mean, std: of each channel, for values from 0 to 1.
    **settings: fields of Augmentation.

  All but `key`, `images` and `indices` is static. With everything off the result is `normalise(images)`.
  """
  chosen = Augmentation(**settings)

  def one(index, image):
    example_key = jax.random.fold_in(key, index)
    flip_key, shift_key, erase_key = jax.random.split(example_key, 3)
    # Not from 0 to 2, which would repeat the keys above.
    rotation_key, crop_key, jitter_key, grey_key, blur_key = (jax.random.fold_in(example_key, n) for n in range(3, 8))
    if chosen.flip or chosen.pad:
      words = _pack(image)
      if chosen.flip:
        words = jnp.where(jax.random.bernoulli(flip_key, chosen.flip), words[:, ::-1], words)
      if chosen.pad:
        words = _shift(shift_key, words, chosen.pad)
      image = _unpack(words)
    if chosen.rotation:
      degrees = jax.random.uniform(rotation_key, minval=-chosen.rotation, maxval=chosen.rotation)
      image = geometry.rotate(image, degrees)
    image = _to_unit(image)
    if chosen.crop_area[0] < 1:
      image = geometry.crop(image, *_crop_window(crop_key, image.shape[:2], chosen.crop_area, chosen.crop_aspect))
    if any(chosen.jitter.values()) and chosen.jitter_probability:
      image = _sometimes(
        jitter_key, chosen.jitter_probability, lambda key: color.jitter(key, image, **chosen.jitter), image
      )
    if chosen.grey_probability:
      image = _sometimes(grey_key, chosen.grey_probability, lambda _: color.grey(image), image)
    if chosen.blur_probability:
      image = _sometimes(blur_key, chosen.blur_probability, lambda key: _blur(key, image, chosen.blur_sigma), image)
    pixels = _standardise(image, mean, std)
    if chosen.erase_probability:
      erased = _rectangle(erase_key, image.shape[:2], chosen.erase_probability, chosen.erase_area, chosen.erase_aspect)
      pixels = jnp.where(jnp.repeat(erased, image.shape[2], axis=1), _row(mean, pixels), pixels)
    return pixels.reshape(image.shape)

  return jax.vmap(one)(jnp.arange(len(images)) if indices is None else indices, images)


def _to_unit(images):
  """Returns u8 values as f32 from 0 to 1."""
  return images.astype(jnp.float32) / 255.0


def _standardise(images, mean, std):
  """Returns [..., h, w * 3]: pixel rows, since a last axis of 3 is too short for vector instructions."""
  rows = images.reshape(*images.shape[:-2], -1)
  return (rows - _row(mean, rows)) / _row(std, rows)


def _sometimes(key, probability, change, image):
  """Returns change(key) with this probability, otherwise the image."""
  chance_key, change_key = jax.random.split(key)
  return jnp.where(jax.random.bernoulli(chance_key, probability), change(change_key), image)


def _blur(key, image, sigma):
  """Returns the image blurred by a Gaussian of random sigma, truncated at three times the largest sigma."""
  return color.blur(image, jax.random.uniform(key, minval=sigma[0], maxval=sigma[1]), radius=math.ceil(3 * sigma[1]))


def _row(values, rows):
  """Returns a value per channel as f32[..., w * 3], with as many axes as `rows`."""
  row = np.tile(np.asarray(values, np.float32), rows.shape[-1] // len(values))
  return row.reshape((1,) * (rows.ndim - 1) + row.shape)


def _pack(image):
  """Returns u8[h, w, 3] as u32[h, w]: XLA on CPU moves single elements, so each pixel is made one element."""
  red, green, blue = (image[:, :, channel].astype(jnp.uint32) for channel in range(3))
  return red | green << 8 | blue << 16


def _unpack(words):
  """Returns u8[h, w, 3]: the inverse of `_pack`."""
  return jax.lax.bitcast_convert_type(words, jnp.uint8)[:, :, :3]  # the lowest byte is the first


def _shift(key, image, pad):
  """Returns image [h, w], padded with 0, cropped back to its size at a uniformly random position."""
  padded = jnp.pad(image, pad)  # [h + 2 pad, w + 2 pad]
  return jax.lax.dynamic_slice(padded, jax.random.randint(key, (2,), 0, 2 * pad + 1), image.shape)


def _rectangle(key, size, probability, area, aspect):
  """Returns bool[h, w], true inside the rectangle to erase; all false with probability 1 - `probability`.

  Of NUM_ATTEMPTS samples, the first one smaller than the image in both directions is used; if there is none, nothing is
  erased.
  """
  height, width = size
  chance_key, area_key, aspect_key, position_key = jax.random.split(key, 4)
  areas = jax.random.uniform(area_key, (NUM_ATTEMPTS,), minval=area[0], maxval=area[1]) * (height * width)
  log_aspects = jax.random.uniform(aspect_key, (NUM_ATTEMPTS,), minval=math.log(aspect[0]), maxval=math.log(aspect[1]))
  heights = jnp.round(jnp.sqrt(areas * jnp.exp(log_aspects))).astype(jnp.int32)
  widths = jnp.round(jnp.sqrt(areas / jnp.exp(log_aspects))).astype(jnp.int32)
  fits = (heights < height) & (widths < width)
  first = jnp.argmax(fits)
  is_erased = fits[first] & jax.random.bernoulli(chance_key, probability)
  top_key, left_key = jax.random.split(position_key)
  top = jax.random.randint(top_key, (), 0, jnp.maximum(height - heights[first] + 1, 1))
  left = jax.random.randint(left_key, (), 0, jnp.maximum(width - widths[first] + 1, 1))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
  inside_rows = (rows >= top) & (rows < top + heights[first])
  inside_columns = (columns >= left) & (columns < left + widths[first])
  return is_erased & inside_rows & inside_columns  # [h, w]


def _crop_window(key, size, area, aspect):
  """Returns (top, left, height, width) of a random rectangle of the image.

  Of NUM_ATTEMPTS samples, the first one that fits into the image is used; if there is none, the whole image.
  """
  height, width = size
  area_key, aspect_key, top_key, left_key = jax.random.split(key, 4)
  areas = jax.random.uniform(area_key, (NUM_ATTEMPTS,), minval=area[0], maxval=area[1])
  log_aspects = jax.random.uniform(aspect_key, (NUM_ATTEMPTS,), minval=math.log(aspect[0]), maxval=math.log(aspect[1]))
  heights = jnp.round(height * jnp.sqrt(areas / jnp.exp(log_aspects))).astype(jnp.int32)
  widths = jnp.round(width * jnp.sqrt(areas * jnp.exp(log_aspects))).astype(jnp.int32)
  fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
  first = jnp.argmax(fits)
  crop_height = jnp.where(fits[first], heights[first], height)
  crop_width = jnp.where(fits[first], widths[first], width)
  top = jax.random.randint(top_key, (), 0, height - crop_height + 1)
  left = jax.random.randint(left_key, (), 0, width - crop_width + 1)
  return top, left, crop_height, crop_width
