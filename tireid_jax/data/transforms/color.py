"""Colour and sharpness of one image f32[h, w, 3] with values from 0 to 1; every operation equals torchvision's.

Written here because no JAX library has them with the definitions of torchvision, which published results use.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Weights of red, green and blue in PIL's mode "L" (ITU-R 601-2).
GREY = (0.299, 0.587, 0.114)


def grey(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
  """Returns f32[h, w, 3], each pixel's brightness in all channels."""
  brightness = jnp.sum(image * jnp.asarray(GREY).reshape(1, 1, 3), axis=2, keepdims=True)
  return jnp.broadcast_to(brightness, image.shape)


def brighten(image: Float[Array, "h w 3"], factor: float | Array) -> Float[Array, "h w 3"]:
  """Returns the image times `factor`: 0 makes it black, 1 keeps it."""
  return jnp.clip(image * factor, 0, 1)


def change_contrast(image: Float[Array, "h w 3"], factor: float | Array) -> Float[Array, "h w 3"]:
  """Returns the image blended with the mean of its brightness: 0 makes it that grey, 1 keeps it."""
  return _blend(image, jnp.mean(grey(image)), factor)


def saturate(image: Float[Array, "h w 3"], factor: float | Array) -> Float[Array, "h w 3"]:
  """Returns the image blended with itself in grey: 0 makes it grey, 1 keeps it."""
  return _blend(image, grey(image), factor)


def shift_hue(image: Float[Array, "h w 3"], turn: float | Array) -> Float[Array, "h w 3"]:
  """Returns the image with hues rotated by `turn`, a fraction of the colour circle; saturation and value stay."""
  red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]  # [h, w]
  value = image.max(axis=2)
  chroma = value - image.min(axis=2)
  divisor = jnp.where(chroma > 0, chroma, 1)
  # In sixths of the circle, from red.
  hue = jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
  hue = jnp.where(value == red, (green - blue) / divisor, hue) + 6 * turn
  # A channel is at full value within a sixth of its own hue, and lacks all of the chroma from two sixths on.
  away = jnp.mod(hue[:, :, None] + jnp.array([5.0, 3.0, 1.0]).reshape(1, 1, 3), 6)  # [h, w, 3]
  lack = jnp.clip(jnp.minimum(away, 4 - away), 0, 1)
  return value[:, :, None] - chroma[:, :, None] * lack


def jitter(
  key: Array, image: Float[Array, "h w 3"], *, brightness: float, contrast: float, saturation: float, hue: float
) -> Float[Array, "h w 3"]:
  """Returns the image with brightness, contrast, saturation and hue changed by random amounts, in random order.

  Args:
    key: random key of this image.
    image: f32[h, w, 3].
    brightness, contrast, saturation: the factor is uniform from 1 - this, or 0, to 1 + this; 0 for no change.
    hue: the rotation is uniform from -this to this, as a fraction of the circle; 0 for no change.
  """
  order_key, *keys = jax.random.split(key, 5)
  spreads = ((brighten, brightness), (change_contrast, contrast), (saturate, saturation), (shift_hue, hue))
  changes = []
  for own_key, (change, spread) in zip(keys, spreads, strict=True):
    if spread:
      lowest, highest = (-spread, spread) if change is shift_hue else (max(0, 1 - spread), 1 + spread)
      amount = jax.random.uniform(own_key, minval=lowest, maxval=highest)
      changes.append(functools.partial(_change, change, amount))
  order = jax.random.permutation(order_key, len(changes))
  for position in range(len(changes)):
    image = jax.lax.switch(order[position], changes, image)
  return image


def blur(image: Float[Array, "h w 3"], sigma: float | Array, *, radius: int) -> Float[Array, "h w 3"]:
  """Returns the image blurred by a Gaussian of `sigma` pixels, truncated at `radius` pixels, with mirrored borders."""
  offsets = jnp.arange(-radius, radius + 1)
  weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
  weights = weights / weights.sum()
  for axis, size in enumerate(image.shape[:2]):
    padding = [(radius, radius) if axis == other else (0, 0) for other in range(3)]
    padded = jnp.pad(image, padding, mode="reflect")
    image = sum(weights[n] * jax.lax.slice_in_dim(padded, n, n + size, axis=axis) for n in range(2 * radius + 1))  # type: ignore[assignment]
  return image


def _change(change, amount, image):
  return change(image, amount)


def _blend(image, other, factor):
  return jnp.clip(factor * image + (1 - factor) * other, 0, 1)
