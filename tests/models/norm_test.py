import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models.norm import LayerNorm


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_values_and_gradients_equal_those_of_automatic_differentiation(eps):
  keys = jax.random.split(jax.random.key(0), 4)
  x = 3 + 2 * jax.random.normal(keys[0], (2, 5, 8))
  params = {"scale": jax.random.normal(keys[1], (8,)), "bias": jax.random.normal(keys[2], (8,))}
  weight = jax.random.normal(keys[3], x.shape)

  def value_and_gradients(module):
    loss = lambda p, x: jnp.sum(weight * module.apply({"params": p}, x))  # noqa: E731
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

  ours, theirs = value_and_gradients(LayerNorm(eps)), value_and_gradients(nn.LayerNorm(epsilon=eps))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


def test_bfloat16_inputs_give_bfloat16_outputs_normalised_in_float32():
  x = 100 + jax.random.normal(jax.random.key(0), (4, 64))
  module = LayerNorm(1e-5)
  variables = module.init(jax.random.key(1), x)
  found = module.apply(variables, x.astype(jnp.bfloat16))
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(found, module.apply(variables, x.astype(jnp.bfloat16).astype(jnp.float32)), atol=0.02)
