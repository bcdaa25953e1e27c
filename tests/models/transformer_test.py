import jax
import numpy as np
import pytest

from tireid_jax.models.execution import Execution
from tireid_jax.models.transformer import Block, take_place
from tireid_jax.models.variants import Tower


@pytest.mark.parametrize(("is_causal", "place"), [(False, 0), (True, np.array([2, 5, 8]))])
def test_a_block_at_one_place_gives_what_it_does_there_at_all_and_the_same_gradients(is_causal, place):
  block = Block(Tower(16, 1, 2), is_causal, "quick_gelu", 1e-5, Execution())
  x = jax.random.normal(jax.random.key(0), (3, 9, 16))
  prompt = jax.random.normal(jax.random.key(1), (3, 2, 16)), np.True_
  weights = jax.jit(block.init)(jax.random.key(2), x, prompt)
  alone, backward = jax.vjp(lambda *inputs: block.apply(*inputs, place)[0], weights, x, prompt)
  among_all, backward_of_all = jax.vjp(lambda *inputs: take_place(block.apply(*inputs)[0], place), weights, x, prompt)
  np.testing.assert_allclose(alone, among_all, rtol=1e-5, atol=1e-6)
  gradient = jax.random.normal(jax.random.key(3), alone.shape)
  for found, expected in zip(*(jax.tree.leaves(f(gradient)[:2]) for f in (backward, backward_of_all)), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
