"""How the encoders are computed: options that change memory and time, and the result only by rounding."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from tireid_jax.errors import UserError
from tireid_jax.models import attention, cudnn, products
from tireid_jax.models.variants import Variant

# What each rematerialisation choice saves in the forward pass; everything else is recomputed in the backward pass.
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


def unconstrained(x: Array, kind: str) -> Array:
  """Returns x: the Execution.constrain of a single device, or to leave the sharding to the compiler."""
  return x


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a model is computed.

  Attributes:
    dtype: compute dtype of the encoders. Weights, LayerNorm and the returned embeddings are float32.
    scan_blocks: whether blocks run as one compiled loop (small program, least memory on CPU) or unrolled.
    remat: what is recomputed in the backward pass of all blocks but the last: "none", "dots" (all but matrix products
      and the residuals of attention) or "full".
    attention: "xla", attention.py's, or "cudnn", JAX's on NVIDIA GPUs.
    constrain: (activations, layout) -> the same array under the sharding constraint of that layout: "batch" for inputs,
      embeddings and the residual stream [B, ...]; "batch_over_data" for token ids [B, L] before the embedding lookup;
      "width_over_fsdp" for token embeddings [B, L, D] after it.
    dot_general: of dense layers, as `nn.Dense` takes it; None for JAX's.
    gather: (path below a block, as "attn/query/kernel", weight, dtype) -> the weight all-gathered from the mesh and
      cast to dtype; None where no weight is sharded along the data.
  """

  dtype: Any = jnp.float32
  scan_blocks: bool = True
  remat: str = "none"
  attention: Literal["xla", "cudnn"] = "xla"
  constrain: Callable = unconstrained
  gather: Callable | None = None
  dot_general: Callable | None = None

  def __post_init__(self):
    if self.remat not in REMAT_POLICIES:
      raise ValueError(f"remat is {self.remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")

  @property
  def dense(self) -> Callable[..., nn.Dense]:
    """`nn.Dense` with this compute dtype and dot_general."""
    return functools.partial(nn.Dense, dtype=self.dtype, dot_general=self.dot_general)


def scans_blocks(name: str, *, platform: str) -> bool:
  """Returns whether blocks run as a loop.

  Args:
    name: of BLOCKS; "auto" is unrolled on accelerators, where a loop spends a fifth of its time on saving activations,
      and a loop on CPU.
    platform: of the devices, "cpu", "gpu" or "tpu".
  """
  return name == "loop" or (name == "auto" and platform == "cpu")


def choose_remat(name: str, *, scan_blocks: bool) -> str:
  """Returns one of REMAT_POLICIES.

  Args:
    name: of REMATS; "auto" is "dots" in a loop, where on CPU it takes less time to recompute the rest than to save it
      and read it back, and "none" where blocks are unrolled.
    scan_blocks: whether blocks run as a loop.
  """
  if name != "auto":
    return name
  return "dots" if scan_blocks else "none"


def choose_dot_general(*, dtype: Any, platform: str) -> Callable | None:
  """Returns Execution.dot_general for a compute dtype on devices of a platform."""
  return products.wide_dot_general if platform == "cpu" and jnp.dtype(dtype) == jnp.bfloat16 else None


def choose_attention(
  name: str, *, variant: Variant, dtype: Any, platform: str, lengths: tuple[int, int],
  probe: Callable[..., str] = cudnn.probe, log: Callable[[str], None] = lambda line: None,
) -> Literal["xla", "cudnn"]:  # fmt: skip
  """Returns the attention to compute with.

  Args:
    name: of ATTENTIONS; "auto" is cuDNN where it runs.
    variant: of the model.
    dtype: compute dtype.
    platform: of the devices, "cpu", "gpu" or "tpu".
    lengths: (image, text) tokens of the longest sequences, prompts included.
    probe: as `cudnn.probe`; called where cuDNN's documented limits do not rule it out.
    log: called with a line if "auto" falls back to XLA's attention because a probe failed.

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
