"""Whether cuDNN's fused attention can run a model on this machine."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tireid_jax.models.variants import Tower, Variant

# On every GPU that has it.
_TYPES = ("bfloat16", "float16")
_MAX_HEAD_SIZE, _HEAD_MULTIPLE = 128, 8


def rules_out(variant: Variant, dtype: str, platform: str) -> str:
  """Returns why cuDNN's attention is ruled out without a probe, "" if it is not."""
  if platform != "gpu":
    return f"runs on NVIDIA GPUs alone, and this is {platform}"
  if dtype not in _TYPES:
    return f"computes in {' or '.join(_TYPES)}, and the stage's precision is {dtype}"
  for tower in (variant.image, variant.text):
    size = _head_size(tower)
    if size > _MAX_HEAD_SIZE or size % _HEAD_MULTIPLE:
      return f"takes heads of {_HEAD_MULTIPLE}, 16, ... {_MAX_HEAD_SIZE} channels, and the model has {size}"
  return ""


def _head_size(tower: Tower) -> int:
  return tower.width // tower.num_heads


def probe_encoders(variant: Variant, dtype: str, lengths: tuple[int, int], probe: Callable[..., str]) -> str:
  """Returns why the attention of one of the encoders fails its probe, "" if neither fails."""
  towers = ((variant.image, False), (variant.text, True))
  calls = (
    probe(_head_size(tower), length, is_causal, dtype)
    for (tower, is_causal), length in zip(towers, lengths, strict=True)
  )
  return next(filter(None, calls), "")


@functools.cache
def probe(head_size: int, length: int, is_causal: bool, dtype: str) -> str:
  """Returns why cuDNN's attention fails on this process's GPU, "" if it compiles and runs with its gradient.

  A probe, since no list of conditions would stay complete: AMD's platform is "gpu" too, GPUs before Ampere have no
  flash attention, and versions of cuDNN differ in the sequence lengths they support.

  Args:
    head_size: channels of a head, K.
    length: tokens, L.
    is_causal: whether the mask is causal.
    dtype: name of the compute dtype.
  """
  if jax.default_backend() != "gpu":
    return f"this process computes on {jax.default_backend()}"

  def total(query):
    mixed = jax.nn.dot_product_attention(query, query, query, is_causal=is_causal, implementation="cudnn")
    return mixed.astype(jnp.float32).sum()

  query = jnp.ones((1, length, 2, head_size), dtype)
  try:
    value, gradient = jax.block_until_ready(jax.jit(jax.value_and_grad(total))(query))
  except Exception as error:  # raised by any layer of the stack; XLA's attention runs everywhere
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:100]}"
  is_finite = jnp.isfinite(value) & jnp.isfinite(gradient.astype(jnp.float32)).all()
  return "" if is_finite else "it returns values that are not finite"
