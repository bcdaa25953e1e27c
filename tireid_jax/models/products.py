"""Half-precision matrix products, which some CPUs compute twice as fast as float32 ones."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

# The name by which a rematerialisation policy can save the outputs of dense layers.
NAME = "dense"


def wide_dot_general(
  x: Float[Array, "... D"],
  kernel: Float[Array, "D F"],
  dimension_numbers: lax.DotDimensionNumbers,
  precision: Any = None,
  preferred_element_type: Any = None,
) -> Float[Array, "... F"]:
  """Returns the product of x and kernel in their dtype; a `dot_general` for `nn.Dense`.

  The forward and the backward pass request a float32 product and round it. If a bfloat16 product were requested, XLA
  on CPU would compute in float32, even on processors with bfloat16 instructions.

  Args:
    x, kernel: of the same dtype.
    dimension_numbers: those of `nn.Dense`.
    precision: ignored, since it applies to float32 inputs only.
    preferred_element_type: must be None.

  Raises:
    ValueError: for other dimension numbers or a preferred element type.
  """
  expected = (((x.ndim - 1,), (0,)), ((), ()))
  if dimension_numbers != expected or preferred_element_type is not None:
    raise ValueError(
      f"this computes dense layers only, with dimension numbers {expected} and no preferred element type; got "
      f"{dimension_numbers} and {preferred_element_type}"
    )
  del precision
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


def _product(a: Array, b: Array, a_axes: Sequence[int], b_axes: Sequence[int]) -> Array:
  """Returns the contraction of these axes, computed as float32 and rounded to a's dtype."""
  return lax.dot_general(a, b, ((a_axes, b_axes), ((), ())), preferred_element_type=jnp.float32).astype(a.dtype)
