"""Errors of cuDNN's attention and of ours in bfloat16, relative to float32: output and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import cases
from tireid_jax.models import cudnn
from tireid_jax.models.attention import attend

# Maximum ratio of cuDNN's error to ours: both round to bfloat16, in a different order.
FACTOR = 1.5


def against_xla(is_causal, length, batch_size=4, num_heads=12, head_size=64):
  """Returns the errors of both implementations: differences from float32, relative to each array's largest value."""
  rng = np.random.default_rng(0)
  shape = (batch_size, length, num_heads, head_size)
  arrays = [jnp.asarray(rng.standard_normal(shape), jnp.bfloat16) for _ in range(4)]

  def cudnn_attention(query, key, value):
    return jax.nn.dot_product_attention(query, key, value, is_causal=is_causal, implementation="cudnn")

  def exact(query, key, value):
    return jax.nn.dot_product_attention(query, key, value, is_causal=is_causal, implementation="xla")

  with cases.full_precision():
    reference = _with_gradients(exact, *(array.astype(jnp.float32) for array in arrays))
  ours = _distances(_with_gradients(lambda *qkv: attend(*qkv, is_causal), *arrays), reference)
  failure = cudnn.probe(head_size, length, is_causal, "bfloat16")
  if failure:
    return {"ok": False, "ours": ours, "cudnn": None, "detail": f"cuDNN's attention does not run: {failure}"}
  theirs = _distances(_with_gradients(cudnn_attention, *arrays), reference)
  ok = all(theirs[name] <= FACTOR * ours[name] for name in ours)
  return {"ok": ok, "ours": ours, "cudnn": theirs, "detail": f"cuDNN's error must be at most {FACTOR} times ours"}


def _with_gradients(function, query, key, value, d_output):
  @jax.jit
  def both(query, key, value, d_output):
    output, backward = jax.vjp(function, query, key, value)
    return output, *backward(d_output)

  return [np.asarray(array, np.float32) for array in both(query, key, value, d_output)]


def _distances(found, reference):
  names = ("output", "d_query", "d_key", "d_value")
  return {
    name: float(np.abs(a - b).max() / np.abs(b).max()) for name, a, b in zip(names, found, reference, strict=True)
  }
