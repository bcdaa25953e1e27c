"""How the encoders are computed: what memory and time they take, and no more of the result than rounding."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

# What each rematerialisation choice keeps from the forward pass; everything else is computed again.
REMAT_POLICIES = {
  "none": None,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  "full": jax.checkpoint_policies.nothing_saveable,
}

BLOCKS = ("auto", "loop", "unrolled")
ATTENTIONS = ("auto", "xla", "cudnn")
# Of cuDNN's attention, on every GPU that has it.
_CUDNN_TYPES = ("bfloat16", "float16")
_CUDNN_HEAD_SIZE, _CUDNN_HEAD_MULTIPLE = 128, 8


def anywhere(x, kind):
  """Returns x: the Execution.place of one device, or of a compiler that is left to choose."""
  return x


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a model is computed.

  Attributes:
    dtype: type of the encoders' arithmetic. Weights, LayerNorm and the returned embeddings are float32.
    scan_blocks: run the blocks as one compiled loop (small program, least memory on CPU) or unrolled.
    remat: what is computed again in the backward pass: "none", "dots" (all but matrix products) or "full".
    attention: "xla", or "cudnn" on NVIDIA GPUs, of `jax.nn.dot_product_attention`; "xla" in bfloat16 is our own, in
      `attention.py`.
    place: (activations, kind) -> the same array, put where its kind belongs on a mesh. The kinds are "rows": [B, ...]
      inputs, embeddings, what goes from block to block; "lookup": tokens [B, L] for which the token table is read; and
      "looked_up": what was read, [B, L, D].
    gather: (path below a block, as "attn/query/kernel", weight, dtype) -> the weight as a block uses it, where a mesh
      keeps it in parts; None where none is.
  """

  dtype: Any = jnp.float32
  scan_blocks: bool = True
  remat: str = "none"
  attention: Literal["xla", "cudnn"] = "xla"
  place: Callable = anywhere
  gather: Callable | None = None

  def __post_init__(self):
    if self.remat not in REMAT_POLICIES:
      raise ValueError(f"remat is {self.remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")


def scans_blocks(name, *, platform):
  """Returns whether blocks run as a loop.

  Args:
    name: of BLOCKS; "auto" is unrolled on accelerators, where a loop spends a fifth of its time on saving activations,
      and a loop on CPU.
    platform: of the devices, "cpu", "gpu" or "tpu".
  """
  return name == "loop" or (name == "auto" and platform == "cpu")


def choose_attention(name, *, variant, dtype, platform):
  """Returns "xla" or "cudnn".

  Args:
    name: of ATTENTIONS; "auto" is cuDNN where it can be.
    variant: Variant of the model.
    dtype: of the arithmetic.
    platform: of the devices, "cpu", "gpu" or "tpu".

  Raises:
    ValueError: for cuDNN where it cannot be.
  """
  obstacle = _why_no_cudnn(variant, jnp.dtype(dtype).name, platform)
  if name == "cudnn" and obstacle:
    raise ValueError(f"model.attention is cudnn, which {obstacle}; set --config.model.attention=auto")
  return "cudnn" if name != "xla" and not obstacle else "xla"


def _why_no_cudnn(variant, dtype, platform):
  """Returns what cuDNN's attention has against it, "" for nothing."""
  if platform != "gpu":
    return f"runs on NVIDIA GPUs alone, and this is {platform}"
  if dtype not in _CUDNN_TYPES:
    return f"computes in {' or '.join(_CUDNN_TYPES)}, and the stage's precision is {dtype}"
  for tower in (variant.image, variant.text):
    size = tower.width // tower.num_heads
    if size > _CUDNN_HEAD_SIZE or size % _CUDNN_HEAD_MULTIPLE:
      return f"takes heads of {_CUDNN_HEAD_MULTIPLE}, 16, ... {_CUDNN_HEAD_SIZE} channels, and the model has {size}"
  return ""
