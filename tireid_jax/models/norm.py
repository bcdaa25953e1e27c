"""LayerNorm whose backward pass is written out: automatic differentiation's is the slowest part of a step on CPU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


class LayerNorm(nn.Module):
  """Normalises the last axis and scales it; computes in float32 whatever comes in, and returns the type that came."""

  eps: float

  @nn.compact
  def __call__(self, x):
    """Returns an array like x: f[..., D]."""
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
    return _layer_norm(x, scale, bias, self.eps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x, scale, bias, eps):
  return _forward(x, scale, bias, eps)[0]


def _forward(x, scale, bias, eps):
  wide = x.astype(jnp.float32)
  mean = wide.mean(-1, keepdims=True)
  centred = wide - mean
  if x.dtype == jnp.float32:
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
  else:
    # Both means in one pass. What cancels is less than x's own rounding, up to means of thousands of deviations.
    variance = jnp.maximum(jnp.mean(wide * wide, axis=-1, keepdims=True) - mean * mean, 0)
  inverse_std = jax.lax.rsqrt(variance + eps)
  return (centred * inverse_std * scale + bias).astype(x.dtype), (x, mean, inverse_std, scale)


def _backward(eps, kept, dy):
  x, mean, inverse_std, scale = kept
  dy = dy.astype(jnp.float32)
  normalised = (x.astype(jnp.float32) - mean) * inverse_std
  g = dy * scale
  dx = inverse_std * (g - g.mean(-1, keepdims=True) - normalised * (g * normalised).mean(-1, keepdims=True))
  rows = tuple(range(x.ndim - 1))
  return dx.astype(x.dtype), (dy * normalised).sum(rows), dy.sum(rows)


_layer_norm.defvjp(_forward, _backward)
