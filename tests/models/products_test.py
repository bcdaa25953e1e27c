import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tireid_jax.models.execution import choose_dot_general
from tireid_jax.models.products import wide_dot_general

DENSE = (((2,), (0,)), ((), ()))


def sample_arrays():
  """Returns x bf16[B, L, D], kernel bf16[D, F] and the result's gradient."""
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = (3, 5, 64), (64, 32), (3, 5, 32)
  return [jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes, strict=True)]


def test_product_and_gradients_equal_those_in_float32_rounded_once():
  x, kernel, gradient = sample_arrays()
  found, backward = jax.vjp(lambda *operands: wide_dot_general(*operands, DENSE), x, kernel)
  wide = [array.astype(jnp.float32) for array in (x, kernel, gradient)]
  exact, exact_backward = jax.vjp(lambda *operands: lax.dot_general(*operands, DENSE), *wide[:2])
  for ours, theirs in zip((found, *backward(gradient)), (exact, *exact_backward(wide[2])), strict=True):
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(ours), theirs, rtol=2**-8, atol=1e-4)


def test_every_product_of_the_backward_pass_has_a_float32_output():
  x, kernel, gradient = sample_arrays()

  def step(x, kernel, gradient):
    return jax.vjp(lambda *operands: wide_dot_general(*operands, DENSE), x, kernel)[1](gradient)

  products = [line for line in jax.jit(step).lower(x, kernel, gradient).as_text().splitlines() if "dot_general" in line]
  assert len(products) == 2
  assert all("bf16>) -> tensor" in line and line.rstrip().endswith("xf32>") for line in products)


def test_products_other_than_those_of_dense_layers_raise():
  with pytest.raises(ValueError, match="this computes dense layers only"):
    wide_dot_general(jnp.ones((2, 3)), jnp.ones((4, 3)), (((1,), (1,)), ((), ())))


@pytest.mark.parametrize(("dtype", "platform"), [("float32", "cpu"), ("bfloat16", "tpu"), ("bfloat16", "gpu")])
def test_other_dtypes_and_platforms_use_jaxs_own_product(dtype, platform):
  assert choose_dot_general(dtype=dtype, platform=platform) is None
  assert choose_dot_general(dtype="bfloat16", platform="cpu") is wide_dot_general
