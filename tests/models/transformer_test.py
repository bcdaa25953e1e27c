import jax
import numpy as np
import pytest

from tireid_jax.models.execution import Execution
from tireid_jax.models.prompts import DeepPrompts
from tireid_jax.models.transformer import Block, Transformer, select_position
from tireid_jax.models.variants import Tower


@pytest.mark.parametrize(("is_causal", "position"), [(False, 0), (True, np.array([2, 5, 8]))])
def test_a_block_applied_at_one_position_equals_the_whole_block_at_that_position(is_causal, position):
  block = Block(Tower(16, 1, 2), is_causal, "quick_gelu", 1e-5, Execution())
  x = jax.random.normal(jax.random.key(0), (3, 9, 16))
  prompt = DeepPrompts(jax.random.normal(jax.random.key(1), (3, 2, 16)), np.True_)
  weights = jax.jit(block.init)(jax.random.key(2), x, prompt)
  at_position, backward = jax.vjp(lambda *inputs: block.apply(*inputs, position)[0], weights, x, prompt)
  selected, backward_of_all = jax.vjp(
    lambda *inputs: select_position(block.apply(*inputs)[0], position), weights, x, prompt
  )
  np.testing.assert_allclose(at_position, selected, rtol=1e-5, atol=1e-6)
  gradient = jax.random.normal(jax.random.key(3), at_position.shape)
  for found, expected in zip(*(jax.tree.leaves(f(gradient)[:2]) for f in (backward, backward_of_all)), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_initial_weights_of_a_block_do_not_depend_on_the_number_of_blocks():
  x = jax.random.normal(jax.random.key(0), (3, 9, 16))

  def initial_weights(num_blocks):
    transformer = Transformer(Tower(16, num_blocks, 2), False, "quick_gelu", 1e-5, Execution())
    weights = jax.jit(transformer.init, static_argnums=2)(jax.random.key(2), x, 0)["params"]
    parts = weights["blocks"], weights["last_block"]
    return jax.tree.map(lambda stacked, last: np.concatenate([stacked, last[None]]), *parts)

  two, three = initial_weights(2), initial_weights(3)
  jax.tree.map(np.testing.assert_array_equal, two, jax.tree.map(lambda weight: weight[:2], three))
  assert not np.array_equal(two["fc"]["kernel"][0], two["fc"]["kernel"][1])


def test_a_single_block_has_no_stacked_weights():
  x = jax.random.normal(jax.random.key(0), (3, 9, 16))
  transformer = Transformer(Tower(16, 1, 2), False, "quick_gelu", 1e-5, Execution())
  weights = jax.jit(transformer.init, static_argnums=2)(jax.random.key(2), x, 0)
  assert set(weights["params"]) == {"last_block"}
  assert transformer.apply(weights, x, 0).shape == (3, 16)
