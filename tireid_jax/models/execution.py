"""How the encoders are computed: what memory and time they take, and no more of the result than rounding."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from tireid_jax.errors import UserError
from tireid_jax.models import attention, cudnn, products

# What each rematerialisation choice keeps from the forward pass; everything else is computed again.
REMAT_POLICIES = {
  "none": None,
  "dots": jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    jax.checkpoint_policies.save_only_these_names(attention.NAME, products.NAME),
  ),
  "full": jax.checkpoint_policies.nothing_saveable,
}

REMATS = ("auto", *REMAT_POLICIES)
BLOCKS = ("auto", "loop", "unrolled")
ATTENTIONS = ("auto", "xla", "cudnn")


def anywhere(x, kind):
  """Returns x: the Execution.place of one device, or of a compiler that is left to choose."""
  return x


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a model is computed.

  Attributes:
    dtype: type of the encoders' arithmetic. Weights, LayerNorm and the returned embeddings are float32.
    scan_blocks: run the blocks as one compiled loop (small program, least memory on CPU) or unrolled.
    remat: what is computed again in the backward pass of all blocks but the last: "none", "dots" (all but matrix
      products and what attention found) or "full".
    attention: "xla", which is our own of attention.py, or "cudnn", JAX's on NVIDIA GPUs.
    place: (activations, kind) -> the same array, put where its kind belongs on a mesh. The kinds are "rows": [B, ...]
      inputs, embeddings, what goes from block to block; "lookup": tokens [B, L] for which the token table is read; and
      "looked_up": what was read, [B, L, D].
    dot_general: of dense layers, as `nn.Dense` takes it; None for JAX's.
    gather: (path below a block, as "attn/query/kernel", weight, dtype) -> the weight as a block uses it, where a mesh
      keeps it in parts; None where none is.
  """

  dtype: Any = jnp.float32
  scan_blocks: bool = True
  remat: str = "none"
  attention: Literal["xla", "cudnn"] = "xla"
  place: Callable = anywhere
  gather: Callable | None = None
  dot_general: Callable | None = None

  def __post_init__(self):
    if self.remat not in REMAT_POLICIES:
      raise ValueError(f"remat is {self.remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")

  @property
  def dense(self):
    """`nn.Dense` of this arithmetic."""
    return functools.partial(nn.Dense, dtype=self.dtype, dot_general=self.dot_general)


def scans_blocks(name, *, platform):
  """Returns whether blocks run as a loop.

  Args:
    name: of BLOCKS; "auto" is unrolled on accelerators, where a loop spends a fifth of its time on saving activations,
      and a loop on CPU.
    platform: of the devices, "cpu", "gpu" or "tpu".
  """
  return name == "loop" or (name == "auto" and platform == "cpu")


def choose_remat(name, *, scan_blocks):
  """Returns one of REMAT_POLICIES.

  Args:
    name: of REMATS; "auto" is "dots" in a loop, where on CPU it takes less time to compute the rest again than to save
      it and read it back, and "none" where blocks are unrolled.
    scan_blocks: whether blocks run as a loop.
  """
  if name != "auto":
    return name
  return "dots" if scan_blocks else "none"


def choose_dot_general(*, dtype, platform):
  """Returns Execution.dot_general for arithmetic of this type on devices of a platform."""
  return products.wide_dot_general if platform == "cpu" and jnp.dtype(dtype) == jnp.bfloat16 else None


def choose_attention(name, *, variant, dtype, platform, lengths, probe=cudnn.probe, log=lambda line: None):
  """Returns "xla" or "cudnn".

  Args:
    name: of ATTENTIONS; "auto" is cuDNN where it runs.
    variant: Variant of the model.
    dtype: of the arithmetic.
    platform: of the devices, "cpu", "gpu" or "tpu".
    lengths: (image, text) tokens of the longest sequences, prompts included.
    probe: as `cudnn.probe`; called where cuDNN's documented limits leave it open.
    log: takes the line that says that a probe failed and "auto" is XLA's attention.

  Raises:
    ValueError: for cuDNN where it cannot run.
  """
  if name == "xla":
    return "xla"
  obstacle = cudnn.rules_out(variant, jnp.dtype(dtype).name, platform)
  if not obstacle:
    failure = cudnn.probe_encoders(variant, jnp.dtype(dtype).name, lengths, probe)
    if failure:
      obstacle = f"does not run on this GPU ({failure})"
      if name == "auto":
        log(f"model.attention=auto is xla: cuDNN's attention {obstacle}")
  if name == "cudnn" and obstacle:
    raise UserError(f"model.attention is cudnn, which {obstacle}; set --config.model.attention=auto")
  return "xla" if obstacle else "cudnn"
