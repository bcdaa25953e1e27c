"""Moves of the pixels of one image [h, w, 3], defined as torchvision's."""

import jax
import jax.numpy as jnp


def rotate(image, degrees):
  """Returns the image turned counter-clockwise about its middle: the nearest pixel, black from outside."""
  height, width = image.shape[:2]
  angle = jnp.deg2rad(degrees)
  down = (jnp.arange(height) - (height - 1) / 2)[:, None]  # from the middle
  right = (jnp.arange(width) - (width - 1) / 2)[None, :]
  rows = jnp.round(jnp.cos(angle) * down + jnp.sin(angle) * right + (height - 1) / 2).astype(jnp.int32)  # [h, w]
  columns = jnp.round(jnp.cos(angle) * right - jnp.sin(angle) * down + (width - 1) / 2).astype(jnp.int32)
  inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  pixels = image[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
  return jnp.where(inside[:, :, None], pixels, 0)


def crop(image, top, left, height, width):
  """Returns the f32 image's rectangle of `height` by `width` pixels, resized to the whole image, bilinear."""
  rows = _stretch(image.shape[0], top, height)
  columns = _stretch(image.shape[1], left, width)
  # Accelerators would else multiply in bfloat16 or TF32, coarser than a pixel's 256 values.
  return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision=jax.lax.Precision.HIGHEST)


def _stretch(size, start, length):
  """Returns f32[size, size]: the matrix that makes `size` values of the `length` ones from `start` on."""
  places = (jnp.arange(size) + 0.5) * length / size - 0.5  # half-pixel centres
  places = start + jnp.clip(places, 0, length - 1)
  return jnp.maximum(0, 1 - jnp.abs(places[:, None] - jnp.arange(size)[None, :]))
