"""Normalisation and augmentation of a batch of images, in JAX, for the inside of a jitted step."""

import math

import jax
import jax.numpy as jnp

# Channel means and deviations of CLIP's training images, for values from 0 to 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Draws of a rectangle's area and aspect before random erasing gives up, as in torchvision.
NUM_ATTEMPTS = 10


def normalise(images, *, mean=MEAN, std=STD):
  """Returns u8[..., h, w, 3] images as f32 of zero mean and unit deviation over CLIP's training images."""
  mean, std = _channels(mean, images.ndim), _channels(std, images.ndim)
  return (images.astype(jnp.float32) / 255.0 - mean) / std


def augment(key, images, *, flip, pad, erase_probability, erase_area, erase_aspect, mean=MEAN, std=STD):
  """Returns f32[B, h, w, 3] normalised images, flipped, shifted and with a rectangle erased at random.

  An image is flipped, padded with black and cropped back to its size, normalised, and then erased: the order and the
  rules of the reference, whose fill is the channel means written into the already normalised image. Row i draws from
  `key` and i alone, so the result does not depend on how the batch is spread over devices.

  Args:
    key: key of the step.
    images: u8[B, h, w, 3].
    flip: probability of a horizontal flip.
    pad: pixels of black on each side before the crop.
    erase_probability: probability that a rectangle is erased.
    erase_area: (lowest, highest) fraction of the image that the rectangle covers.
    erase_aspect: (lowest, highest) height of the rectangle over its width; log-uniform.
    mean, std: of each channel, for values from 0 to 1.

  Everything but `key` and `images` is static. With both probabilities and `pad` 0 the result is `normalise(images)`.
  """
  check(flip, pad, erase_probability, erase_area, erase_aspect)

  def one(row, image):
    flip_key, crop_key, erase_key = jax.random.split(jax.random.fold_in(key, row), 3)
    if flip:
      image = jnp.where(jax.random.bernoulli(flip_key, flip), image[:, ::-1], image)
    if pad:
      image = _shift(crop_key, image, pad)
    image = normalise(image, mean=mean, std=std)
    if erase_probability:
      erased = _rectangle(erase_key, image.shape[:2], erase_probability, erase_area, erase_aspect)
      image = jnp.where(erased[:, :, None], _channels(mean, image.ndim), image)
    return image

  return jax.vmap(one)(jnp.arange(images.shape[0]), images)


def _channels(values, ndim):
  """Returns f32[..., 3] of `ndim` axes, to meet images without promotion of ranks."""
  return jnp.asarray(values, jnp.float32).reshape((1,) * (ndim - 1) + (3,))


def _shift(key, image, pad):
  """Returns the image, padded with black, cropped back to its size at a uniformly random place."""
  padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))  # [h + 2 pad, w + 2 pad, 3]
  top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
  return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _rectangle(key, size, probability, area, aspect):
  """Returns bool[h, w], true inside the rectangle to erase; all false with probability 1 - `probability`.

  Of NUM_ATTEMPTS draws the first that is smaller than the image in both directions is taken; if none is, nothing is
  erased.
  """
  height, width = size
  chance_key, area_key, aspect_key, place_key = jax.random.split(key, 4)
  areas = jax.random.uniform(area_key, (NUM_ATTEMPTS,), minval=area[0], maxval=area[1]) * (height * width)
  log_aspects = jax.random.uniform(aspect_key, (NUM_ATTEMPTS,), minval=math.log(aspect[0]), maxval=math.log(aspect[1]))
  heights = jnp.round(jnp.sqrt(areas * jnp.exp(log_aspects))).astype(jnp.int32)
  widths = jnp.round(jnp.sqrt(areas / jnp.exp(log_aspects))).astype(jnp.int32)
  fits = (heights < height) & (widths < width)
  first = jnp.argmax(fits)
  is_erased = fits[first] & jax.random.bernoulli(chance_key, probability)
  top_key, left_key = jax.random.split(place_key)
  top = jax.random.randint(top_key, (), 0, jnp.maximum(height - heights[first] + 1, 1))
  left = jax.random.randint(left_key, (), 0, jnp.maximum(width - widths[first] + 1, 1))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
  inside_rows = (rows >= top) & (rows < top + heights[first])
  inside_columns = (columns >= left) & (columns < left + widths[first])
  return is_erased & inside_rows & inside_columns  # [h, w]


def check(flip, pad, erase_probability, erase_area, erase_aspect):
  """Raises ValueError for a setting that `augment` cannot have."""
  for name, value in (("erase_area", erase_area), ("erase_aspect", erase_aspect)):
    if len(value) != 2:
      raise ValueError(f"augment.{name} is (lowest, highest), got {value}")
  for name, value in (("flip", flip), ("erase_probability", erase_probability)):
    if not 0 <= value <= 1:
      raise ValueError(f"augment.{name} is a probability from 0 to 1, got {value}")
  if pad < 0:
    raise ValueError(f"augment.pad is a number of pixels from 0, got {pad}")
  if not 0 < erase_area[0] <= erase_area[1] <= 1:
    raise ValueError(f"augment.erase_area is (lowest, highest) fraction between 0 and 1, got {erase_area}")
  if not 0 < erase_aspect[0] <= erase_aspect[1]:
    raise ValueError(f"augment.erase_aspect is (lowest, highest) ratio above 0, got {erase_aspect}")
