"""Attention is JAX's own, but for rounding, and keeps no more than it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models.attention import attend


def draw(dtype):
  """Returns query, key, value and the result's gradient: [B, L, H, K]; scores reach 10, as trained ones do."""
  keys = jax.random.split(jax.random.key(0), 4)
  return [scale * jax.random.normal(key, (2, 9, 3, 16), dtype) for key, scale in zip(keys, (2, 2, 1, 1), strict=True)]


def with_gradients(attention, query, key, value, d_mixed):
  mixed, backward = jax.vjp(attention, query, key, value)
  return [np.asarray(array, np.float64) for array in (mixed, *backward(d_mixed))]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 2**-6), (jnp.float32, 2**-19)])
def test_output_and_gradients_are_those_of_jax_but_for_rounding(is_causal, dtype, tolerance):
  arrays = draw(dtype)
  found = with_gradients(lambda *qkv: attend(*qkv, is_causal), *arrays)
  # In float32, on the same values: what both round.
  wide = [array.astype(jnp.float32) for array in arrays]
  exact = with_gradients(lambda *qkv: jax.nn.dot_product_attention(*qkv, is_causal=is_causal), *wide)
  for ours, theirs in zip(found, exact, strict=True):
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_what_the_backward_pass_keeps(dtype):
  query, key, value, _ = draw(dtype)
  kept = jax.eval_shape(lambda *qkv: jax.vjp(lambda *x: attend(*x, False), *qkv)[1], query, key, value)
  shapes = sorted((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(kept))
  of_places = [((2, 9, 3, 16), "bfloat16")] * 4
  assert shapes == (
    [((2, 3, 9, 9), "bfloat16"), ((2, 9, 3, 1), "float32"), *of_places]
    if dtype == jnp.bfloat16
    else [((2, 3, 9, 1), "float32")] * 2 + [((2, 3, 9, 16), "float32")] * 4
  )
