"""Changes of colour and sharpness of one image f32[h, w, 3] with values from 0 to 1, defined as torchvision's."""

import functools

import jax
import jax.numpy as jnp

# Of red, green and blue in PIL's mode "L" (ITU-R 601-2).
GREY = (0.299, 0.587, 0.114)


def grey(image):
  """Returns f32[h, w, 3], each pixel's brightness in all channels."""
  brightness = jnp.sum(image * jnp.asarray(GREY).reshape(1, 1, 3), axis=2, keepdims=True)
  return jnp.broadcast_to(brightness, image.shape)


def brighten(image, factor):
  """Returns the image times `factor`: 0 makes it black, 1 keeps it."""
  return jnp.clip(image * factor, 0, 1)


def change_contrast(image, factor):
  """Returns the image blended with the mean of its brightness: 0 makes it that grey, 1 keeps it."""
  return _blend(image, jnp.mean(grey(image)), factor)


def saturate(image, factor):
  """Returns the image blended with itself in grey: 0 makes it grey, 1 keeps it."""
  return _blend(image, grey(image), factor)


def shift_hue(image, turn):
  """Returns the image with every hue turned by so much of the colour circle; saturation and value stay."""
  red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]  # [h, w]
  value = image.max(axis=2)
  chroma = value - image.min(axis=2)
  divisor = jnp.where(chroma > 0, chroma, 1)
  # In sixths of the circle, from red.
  hue = jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
  hue = jnp.where(value == red, (green - blue) / divisor, hue) + 6 * turn
  # A channel lacks nothing within a sixth of its own hue, and all of the chroma from two sixths on.
  away = jnp.mod(hue[:, :, None] + jnp.array([5.0, 3.0, 1.0]).reshape(1, 1, 3), 6)  # [h, w, 3]
  lack = jnp.clip(jnp.minimum(away, 4 - away), 0, 1)
  return value[:, :, None] - chroma[:, :, None] * lack


def jitter(key, image, *, brightness, contrast, saturation, hue):
  """Returns the image with the four changed by random amounts, in random order.

  Args:
    key: of this image.
    image: f32[h, w, 3].
    brightness, contrast, saturation: the factor is uniform from 1 - this, or 0, to 1 + this; 0 for no change.
    hue: the turn is uniform from -this to this; 0 for no change.
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
  for place in range(len(changes)):
    image = jax.lax.switch(order[place], changes, image)
  return image


def blur(image, sigma, *, radius):
  """Returns the image under a Gaussian of `sigma` pixels, cut off after `radius` pixels, the borders mirrored."""
  offsets = jnp.arange(-radius, radius + 1)
  weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
  weights = weights / weights.sum()
  for axis, size in enumerate(image.shape[:2]):
    padding = [(radius, radius) if axis == other else (0, 0) for other in range(3)]
    padded = jnp.pad(image, padding, mode="reflect")
    image = sum(weights[n] * jax.lax.slice_in_dim(padded, n, n + size, axis=axis) for n in range(2 * radius + 1))
  return image


def _change(change, amount, image):
  return change(image, amount)


def _blend(image, other, factor):
  return jnp.clip(factor * image + (1 - factor) * other, 0, 1)
