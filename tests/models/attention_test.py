"""Attention equals JAX's own up to rounding, and stores only the documented residuals for the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models.attention import attend


def sample_arrays(dtype):
  """Returns query, key, value and the result's gradient: [B, L, H, K]; scores reach 10, as in trained models."""
  keys = jax.random.split(jax.random.key(0), 4)
  return [scale * jax.random.normal(key, (2, 9, 3, 16), dtype) for key, scale in zip(keys, (2, 2, 1, 1), strict=True)]


def with_gradients(attention, query, key, value, d_mixed):
  mixed, backward = jax.vjp(attention, query, key, value)
  return [np.asarray(array, np.float64) for array in (mixed, *backward(d_mixed))]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 2**-6), (jnp.float32, 2**-19)])
def test_output_and_gradients_equal_those_of_jax_up_to_rounding(is_causal, dtype, tolerance):
  arrays = sample_arrays(dtype)
  found = with_gradients(lambda *qkv: attend(*qkv, is_causal), *arrays)
  # The reference is computed in float32 from the same values.
  wide = [array.astype(jnp.float32) for array in arrays]
  exact = with_gradients(lambda *qkv: jax.nn.dot_product_attention(*qkv, is_causal=is_causal), *wide)
  for ours, theirs in zip(found, exact, strict=True):
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_residuals_of_the_backward_pass(dtype):
  query, key, value, _ = sample_arrays(dtype)
  residuals = jax.eval_shape(lambda *qkv: jax.vjp(lambda *x: attend(*x, False), *qkv)[1], query, key, value)
  shapes = sorted((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(residuals))
  token_residuals = [((2, 9, 3, 16), "bfloat16")] * 4
  assert shapes == (
    [((2, 3, 9, 9), "bfloat16"), ((2, 9, 3, 1), "float32"), *token_residuals]
    if dtype == jnp.bfloat16
    else [((2, 3, 9, 1), "float32")] * 2 + [((2, 3, 9, 16), "float32")] * 4
  )
