import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models.attention import attend
from tireid_jax.models.execution import Execution
from tireid_jax.models.transformer import Attention


def draw(dtype):
  """Returns query, key, value and the result's gradient: [B, L, H, K]; scores reach 10, as trained ones do."""
  keys = jax.random.split(jax.random.key(0), 4)
  return [scale * jax.random.normal(key, (2, 9, 3, 16), dtype) for key, scale in zip(keys, (2, 2, 1, 1), strict=True)]


def with_gradients(attention, query, key, value, d_mixed):
  mixed, backward = jax.vjp(attention, query, key, value)
  return [np.asarray(array, np.float64) for array in (mixed, *backward(d_mixed))]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 2**-6), (jnp.float32, 2**-20)])
def test_output_and_gradients_are_those_of_jax_but_for_rounding(is_causal, dtype, tolerance):
  arrays = draw(dtype)
  found = with_gradients(lambda *qkv: attend(*qkv, is_causal), *arrays)
  # In float32, on the same values: what both round.
  wide = [array.astype(jnp.float32) for array in arrays]
  exact = with_gradients(lambda *qkv: jax.nn.dot_product_attention(*qkv, is_causal=is_causal), *wide)
  for ours, theirs in zip(found, exact, strict=True):
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def test_of_the_forward_pass_nothing_wide_is_kept():
  query, key, value, _ = draw(jnp.bfloat16)
  kept = jax.eval_shape(lambda *qkv: jax.vjp(lambda *x: attend(*x, False), *qkv)[1], query, key, value)
  shapes = sorted((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(kept))
  assert shapes == [((2, 3, 9, 9), "bfloat16"), *[((2, 9, 3, 16), "bfloat16")] * 4]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_it_is_the_attention_of_bfloat16_alone(monkeypatch, dtype):
  asked = []
  monkeypatch.setattr(jax.nn, "dot_product_attention", lambda query, *_, **__: asked.append(query.dtype) or query)
  module = Attention(2, False, Execution(dtype))
  jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros((1, 5, 16), dtype))
  assert asked == ([] if dtype == jnp.bfloat16 else [jnp.float32])
