"""Every backward pass that is written by hand, against differences of its forward pass."""

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
# Those below, and the one of parallel/sharding.py in the last test.
CHECKED = {"models/attention.py": 2, "models/norm.py": 1, "models/products.py": 1, "parallel/sharding.py": 1}
check = functools.partial(check_grads, order=1, modes=["rev"], atol=2e-3, rtol=2e-3, eps=1e-2)


def normal(*shapes):
  draw = np.random.default_rng(0)
  return [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]


def test_there_are_no_other_custom_backward_passes():
  counts = {str(path.relative_to(PACKAGE)): path.read_text().count("jax.custom_vjp") for path in PACKAGE.rglob("*.py")}
  assert {path: count for path, count in counts.items() if count} == CHECKED


@pytest.mark.parametrize("is_causal", [False, True])
# In float32 both, since differences of bfloat16 values are all rounding.
@pytest.mark.parametrize("form", [attention._float32, attention._half_precision])
def test_attention(form, is_causal):
  check(lambda *qkv: form(*qkv, is_causal), normal(*[(1, 4, 2, 3)] * 3))


def test_layer_norm():
  x, scale, bias = normal((3, 6), (6,), (6,))
  check(lambda x, scale, bias: LayerNorm(1e-2).apply({"params": {"scale": scale, "bias": bias}}, x), (x, scale, bias))


def test_dense_products():
  check(lambda x, kernel: wide_dot_general(x, kernel, (((2,), (0,)), ((), ()))), normal((2, 3, 4), (4, 5)))


def test_weights_that_a_mesh_keeps_in_parts():
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
