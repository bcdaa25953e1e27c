"""Half-precision matrix products, which some CPUs compute at twice the rate of float32."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

# By this name a rematerialisation policy can save the output of a dense layer.
NAME = "dense"


def wide_dot_general(x, kernel, dimension_numbers, precision=None, preferred_element_type=None):
  """Returns f[..., F], the product of f[..., D] and f[D, F] in their dtype; a `dot_general` for `nn.Dense`.

  The product is requested as float32 and rounded afterwards, here and in the backward pass: for a bfloat16 result, XLA
  on CPU would compute in float32 even where the processor multiplies bfloat16.
  """
  expected = (((x.ndim - 1,), (0,)), ((), ()))
  if dimension_numbers != expected or preferred_element_type is not None:
    raise ValueError(f"this computes dense layers, {expected}; got {dimension_numbers} to {preferred_element_type}")
  del precision  # applies to float32 inputs only
  return _dense(x, kernel)


@jax.custom_vjp
def _dense(x, kernel):
  return _product(x, kernel, (x.ndim - 1,), (0,))


def _dense_forward(x, kernel):
  return checkpoint_name(_dense(x, kernel), NAME), (x, kernel)


def _dense_backward(residuals, gradient):
  x, kernel = residuals
  batch_axes = tuple(range(x.ndim - 1))
  return _product(gradient, kernel, (x.ndim - 1,), (1,)), _product(x, gradient, batch_axes, batch_axes)


_dense.defvjp(_dense_forward, _dense_backward)


def _product(a, b, a_axes, b_axes):
  return lax.dot_general(a, b, ((a_axes, b_axes), ((), ())), preferred_element_type=jnp.float32).astype(a.dtype)
