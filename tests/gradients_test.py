"""Compares every custom backward pass with finite differences of its forward pass."""

import functools
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tireid_jax.models import attention
from tireid_jax.models.norm import LayerNorm
from tireid_jax.models.products import wide_dot_general

PACKAGE = pathlib.Path(__file__).parent.parent / "tireid_jax"
# Number of custom backward passes in each file, all of which are tested below.
CHECKED = {"models/attention.py": 2, "models/norm.py": 1, "models/products.py": 1, "parallel/sharding.py": 1}
check = functools.partial(check_grads, order=1, modes=["rev"], atol=2e-3, rtol=2e-3, eps=1e-2)


def normal(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def test_there_are_no_other_custom_backward_passes():
  counts = {str(path.relative_to(PACKAGE)): path.read_text().count("jax.custom_vjp") for path in PACKAGE.rglob("*.py")}
  assert {path: count for path, count in counts.items() if count} == CHECKED


@pytest.mark.parametrize("is_causal", [False, True])
# Both run in float32, because finite differences in bfloat16 would be dominated by rounding.
@pytest.mark.parametrize("form", [attention._float32, attention._half_precision])
def test_gradients_of_attention(form, is_causal):
  check(lambda *qkv: form(*qkv, is_causal), normal(*[(1, 4, 2, 3)] * 3))


def test_gradients_of_layer_norm():
  x, scale, bias = normal((3, 6), (6,), (6,))
  check(lambda x, scale, bias: LayerNorm(1e-2).apply({"params": {"scale": scale, "bias": bias}}, x), (x, scale, bias))


def test_gradients_of_dense_products():
  check(lambda x, kernel: wide_dot_general(x, kernel, (((2,), (0,)), ((), ()))), normal((2, 3, 4), (4, 5)))


def test_gradients_of_gathered_weights():
  code = """
import jax
from jax.test_util import check_grads
from tireid_jax.parallel import sharding
mesh = sharding.make_mesh(1, 2, 1)
gather = sharding.gather_weights(mesh)
weight = jax.random.normal(jax.random.key(0), (4, 6))
place = lambda weight: gather("fc/kernel", weight, weight.dtype)
moved = jax.jit(place)(weight)
assert (moved == weight).all() and moved.sharding.is_fully_replicated
check_grads(jax.jit(lambda weight: place(weight) ** 2), (weight,), order=1, modes=["rev"], atol=2e-3, rtol=2e-3)
"""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
  done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
