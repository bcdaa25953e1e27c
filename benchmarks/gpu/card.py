"""The GPU itself: the rate of its matrix products and its memory."""

import functools
import time

import jax
import jax.numpy as jnp

REPEATS = 10


@functools.cache
def matrix_rate(side, dtype):
  """Returns FLOP/s of products of two random square matrices: the best of three means, since clocks rise under load."""
  left, right = (jax.random.normal(jax.random.key(seed), (side, side), dtype) for seed in (0, 1))
  product = jax.jit(jnp.matmul)
  jax.block_until_ready(product(left, right))
  seconds = []
  for _ in range(3):
    began = time.perf_counter()
    for _ in range(REPEATS):
      out = product(left, right)
    jax.block_until_ready(out)
    seconds.append((time.perf_counter() - began) / REPEATS)
  return 2 * side**3 / min(seconds)


def describe(side=8192):
  """Returns the matrix rates and the memory of the GPU.

  Args:
    side: of the matrices. They are random, since products of zeros run faster than those of real data.
  """
  memory = jax.devices()[0].memory_stats() or {}
  return {
    "side": side,
    "bfloat16_tflop_per_s": round(matrix_rate(side, "bfloat16") / 1e12, 3),
    "float32_tflop_per_s": round(matrix_rate(side // 2, "float32") / 1e12, 3),
    "memory_limit_gib": round(memory.get("bytes_limit", 0) / 2**30, 1),
  }
