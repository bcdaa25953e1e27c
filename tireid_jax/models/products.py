"""Matrix products of narrow types, as a CPU computes them at twice the rate of float32."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

# By this name a rematerialisation policy can keep what a dense layer gave.
NAME = "dense"


def wide_dot_general(x, kernel, dimension_numbers, precision=None, preferred_element_type=None):
  """Returns f[..., F] of f[..., D] and f[D, F], of their type: what `nn.Dense` takes as its `dot_general`.

  Sums are handed over as float32 and rounded after, here and in both products of the backward pass. Asked for a
  bfloat16 result, XLA on CPU computes in float32 even where the processor multiplies bfloat16.
  """
  expected = (((x.ndim - 1,), (0,)), ((), ()))
  if dimension_numbers != expected or preferred_element_type is not None:
    raise ValueError(f"this computes dense layers, {expected}; got {dimension_numbers} to {preferred_element_type}")
  del precision  # of float32 inputs alone
  return _dense(x, kernel)


@jax.custom_vjp
def _dense(x, kernel):
  return _product(x, kernel, (x.ndim - 1,), (0,))


def _dense_forward(x, kernel):
  return checkpoint_name(_dense(x, kernel), NAME), (x, kernel)


def _dense_backward(kept, gradient):
  x, kernel = kept
  rows = tuple(range(x.ndim - 1))
  return _product(gradient, kernel, (x.ndim - 1,), (1,)), _product(x, gradient, rows, rows)


_dense.defvjp(_dense_forward, _dense_backward)


def _product(a, b, a_axes, b_axes):
  return lax.dot_general(a, b, ((a_axes, b_axes), ((), ())), preferred_element_type=jnp.float32).astype(a.dtype)
