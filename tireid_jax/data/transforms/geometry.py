"""Geometric transforms of one image [h, w, 3], equal to torchvision's."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rotate(image: Array, degrees: float | Array) -> Array:
  """Returns [h, w, 3] rotated counter-clockwise about its centre: nearest neighbour, black outside of the image."""
  height, width = image.shape[:2]
  angle = jnp.deg2rad(degrees)
  down = (jnp.arange(height) - (height - 1) / 2)[:, None]  # from the centre
  right = (jnp.arange(width) - (width - 1) / 2)[None, :]
  rows = jnp.round(jnp.cos(angle) * down + jnp.sin(angle) * right + (height - 1) / 2).astype(jnp.int32)  # [h, w]
  columns = jnp.round(jnp.cos(angle) * right - jnp.sin(angle) * down + (width - 1) / 2).astype(jnp.int32)
  inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  pixels = image[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
  return jnp.where(inside[:, :, None], pixels, 0)


def crop(
  image: Float[Array, "h w 3"], top: int | Array, left: int | Array, height: int | Array, width: int | Array
) -> Float[Array, "h w 3"]:
  """Returns the rectangle of `height` by `width` pixels at (`top`, `left`), resized bilinearly to the image's size."""
  rows = _stretch(image.shape[0], top, height)
  columns = _stretch(image.shape[1], left, width)
  # By default, accelerators multiply in bfloat16 or TF32, which is coarser than a pixel's 256 values.
  return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision=jax.lax.Precision.HIGHEST)


def _stretch(size, start, length):
  """Returns f32[size, size]: the matrix that resamples `length` values from `start` on to `size` values."""
  positions = (jnp.arange(size) + 0.5) * length / size - 0.5  # half-pixel centres
  positions = start + jnp.clip(positions, 0, length - 1)
  return jnp.maximum(0, 1 - jnp.abs(positions[:, None] - jnp.arange(size)[None, :]))
