"""Learnable prompt tokens: how many there are, and which positions and blocks they are inserted at.

All code that depends on the placement is here. To add a placement, write a class with the methods of `DeepPrompts` and
list it in PLACEMENTS; `--config.prompts.placement` then accepts its name.
"""

import dataclasses
from typing import Self

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tireid_jax import fields
from tireid_jax.errors import UserError
from tireid_jax.fields import field, must, one_of

# The position whose output an encoder returns: the same in all sequences of a batch, or one for each.
Position = int | Int[Array, " B"]

_LENGTH = must("0 (no prompts) or more", lambda length: length >= 0)


@flax.struct.dataclass
class DeepPrompts:
  """Deep prompt tuning: each block replaces positions 1..P, after the class or start token, with its own prompt tokens.

  Prompts have no position embedding and do not reduce the maximum caption length. Blocks beyond the prompts' depth
  receive the previous block's outputs at those positions.

  The encoders call `sequence_length` and `insert`. Block i calls `enter` on slice i of the leading axis of each leaf.

  Attributes:
    tokens: of each block and example, zeros beyond the prompts' depth.
    is_prompted: whether a block has prompts.

  Source: Jia et al., ECCV 2022 (VPT-deep), arXiv 2203.12119.
  """

  tokens: Float[Array, "blocks B P D"]
  is_prompted: Bool[Array, " blocks"]

  @staticmethod
  def tokens_shape(spec: "PromptSpec", num_tokens: int, width: int) -> tuple[int, ...]:
    """Returns the shape of the variable "tokens"; sharding rules assume that its last axis is D."""
    return (spec.depth, num_tokens, width)

  @staticmethod
  def sequence_length(length: int, num_tokens: int) -> int:
    """Returns the sequence length with prompts, given `length`, that without them."""
    return length + num_tokens

  @classmethod
  def insert(
    cls, x: Float[Array, "B L D"], position: Position, tokens: Float[Array, "depth B P D"], num_blocks: int
  ) -> tuple[Float[Array, "B L+P D"], Position, Self]:
    """Returns (sequence with zeros at the prompts' positions, `position` in that sequence, prompts of all blocks).

    Args:
      x: without prompts.
      position: whose output the encoder returns; an int is 0, the class token.
      tokens: of the blocks that have prompts.
      num_blocks: of the encoder, at least depth.
    """
    depth, _, num_tokens, width = tokens.shape
    room = jnp.zeros((x.shape[0], num_tokens, width), x.dtype)
    x = jnp.concatenate([x[:, :1], room, x[:, 1:]], axis=1)  # [B, L + P, D]
    position = 0 if isinstance(position, int) else position + num_tokens
    padded = jnp.pad(tokens, [(0, num_blocks - depth)] + [(0, 0)] * 3)  # [blocks, B, P, D]
    return x, position, cls(padded, jnp.arange(num_blocks) < depth)

  def enter(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
    """Returns the input of one block with the block's prompt tokens at positions 1..P.

    Called on one block's slice: tokens f32[B, P, D] and is_prompted bool[].
    """
    length, num_tokens = x.shape[1], self.tokens.shape[1]
    position = jnp.arange(length)[:, None]
    is_prompt = self.is_prompted & (position >= 1) & (position <= num_tokens)  # [L + P, 1]
    # Selected rather than concatenated: on a TPU, parts that start at unaligned positions are copied.
    padded = jnp.pad(self.tokens.astype(x.dtype), [(0, 0), (1, length - 1 - num_tokens), (0, 0)])
    return jnp.where(is_prompt, padded, x)


PLACEMENTS: dict[str, type[DeepPrompts]] = {"deep": DeepPrompts}


@dataclasses.dataclass(frozen=True)
class PromptSpec:
  """The config's `prompts` section: number of prompt tokens and the blocks that have them. No prompts by default."""

  image_length: int = field(0, "prompt tokens per block of the image encoder; 0 for none", _LENGTH)
  text_length: int = field(0, "prompt tokens per block of the text encoder; 0 for none", _LENGTH)
  depth: int = field(1, "blocks with prompts of their own, from the first; beyond it the outputs of the last flow on")
  init_std: float = field(0.02, "standard deviation of the initial normal distribution")
  dropout: float = field(
    0.0, "fraction of prompt elements that are zeroed in training", must("in [0, 1)", lambda rate: 0 <= rate < 1)
  )
  placement: str = field("deep", f"where the tokens go: {', '.join(PLACEMENTS)}", one_of(*PLACEMENTS))

  def check(self, image_blocks: int, text_blocks: int) -> None:
    """Raises UserError for an invalid field, or if `depth` exceeds the number of blocks of an encoder with prompts."""
    fields.check(PromptSpec, vars(self), "prompts.")
    deepest = min(
      [b for b, n in ((image_blocks, self.image_length), (text_blocks, self.text_length)) if n], default=None
    )
    if deepest is not None and not 1 <= self.depth <= deepest:
      raise UserError(
        f"prompts.depth is {self.depth}, but the encoders have {image_blocks} (image) and {text_blocks} (text) blocks; "
        f"set --config.prompts.depth to 1..{deepest}"
      )

  def sequence_lengths(self, image_tokens: int, text_tokens: int) -> tuple[int, int]:
    """Returns the (image, text) sequence lengths with prompts, given those without."""
    length = PLACEMENTS[self.placement].sequence_length
    return length(image_tokens, self.image_length), length(text_tokens, self.text_length)


def insert_prompts(
  encoder: nn.Module,
  spec: PromptSpec,
  num_tokens: int,
  x: Float[Array, "B L D"],
  position: Position,
  indices: Int[Array, " B"] | None,
  *,
  num_blocks: int,
) -> tuple[Float[Array, "B L+P D"], Position, DeepPrompts | None]:
  """Returns (x with zeros at the prompts' positions, `position` in that sequence, the prompts for `Transformer`).

  Without prompts, x and `position` are returned unchanged, and None as the prompts.

  Args:
    encoder: module that declares the prompts.
    spec: depth, initialisation, dropout and placement.
    num_tokens: P of this encoder; 0 for no prompts.
    x: token embeddings without prompts.
    position: whose output the encoder returns.
    indices: as in `declare_prompts`.
    num_blocks: of the encoder.
  """
  if num_tokens == 0:
    return x, position, None
  tokens = declare_prompts(encoder, spec, num_tokens, x.shape[-1], x.shape[0], indices)
  return PLACEMENTS[spec.placement].insert(x, position, tokens, num_blocks)


def declare_prompts(
  encoder: nn.Module,
  spec: PromptSpec,
  num_tokens: int,
  width: int,
  batch_size: int,
  indices: Int[Array, " B"] | None,
) -> Float[Array, "depth B P D"]:
  """Declares the variable `prompts/<encoder>/tokens` f32[depth, P, D] and returns it, broadcast to every example.

  Args:
    encoder: module that declares the prompts.
    spec: depth, initialisation, dropout and placement.
    num_tokens: P of this encoder, at least 1.
    width: D of this encoder.
    batch_size: B.
    indices: index of each example in the global batch, on which its dropout mask depends; None disables dropout.
  """
  shape = PLACEMENTS[spec.placement].tokens_shape(spec, num_tokens, width)
  tokens = encoder.variable(
    "prompts", "tokens", lambda: spec.init_std * jax.random.normal(encoder.make_rng("prompts"), shape, jnp.float32)
  ).value
  tokens = jnp.broadcast_to(tokens[:, None], (shape[0], batch_size, *shape[1:]))
  if indices is None or spec.dropout == 0:
    return tokens
  key, keep_probability = encoder.make_rng("dropout"), 1 - spec.dropout
  # Not nn.Dropout, whose mask depends on the shape of the batch: a chunk of the batch must get the masks that its
  # examples have in the whole batch.
  is_kept = jax.vmap(
    lambda index: jax.random.bernoulli(jax.random.fold_in(key, index), keep_probability, shape), out_axes=1
  )(indices)
  return jnp.where(is_kept, tokens / keep_probability, 0.0)
