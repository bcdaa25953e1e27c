"""Learnable prompt tokens, in a variable collection of their own, apart from the weights."""

import dataclasses

import jax
import jax.numpy as jnp

from tireid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PromptSpec:
  """How many prompt tokens there are and where.

  Attributes:
    image_length, text_length: tokens per block in each encoder; 0 turns them off.
    depth: blocks that get tokens of their own, counted from the first; beyond it the outputs flow on.
    init_std: standard deviation of the initial normal distribution.
    dropout: share of prompt elements zeroed in training.
  """

  image_length: int = 0
  text_length: int = 0
  depth: int = 1
  init_std: float = 0.02
  dropout: float = 0.0

  def check(self, image_blocks, text_blocks):
    """Raises ValueError if this does not fit encoders of so many blocks; an encoder without prompts fits any depth."""
    for name in ("image_length", "text_length"):
      if getattr(self, name) < 0:
        raise UserError(f"prompts.{name} is {getattr(self, name)}; it must be 0 (no prompts) or more")
    deepest = min(
      [b for b, n in ((image_blocks, self.image_length), (text_blocks, self.text_length)) if n], default=None
    )
    if deepest is not None and not 1 <= self.depth <= deepest:
      raise UserError(
        f"prompts.depth is {self.depth}, but the encoders have {image_blocks} (image) and {text_blocks} (text) blocks; "
        f"set --config.prompts.depth to 1..{deepest}"
      )
    if not 0 <= self.dropout < 1:
      raise UserError(f"prompts.dropout is {self.dropout}; it must be in [0, 1)")


def declare_prompts(encoder, spec, length, width, batch_size, rows):
  """Returns f32[depth, B, P, D]: the prompt tokens of each prompted block, the same for every row of the batch.

  Declares `prompts/<encoder>/tokens` f32[depth, P, D] in the Linen module `encoder`; None where `length` is 0. In
  training, when `rows` i32[B] are given, elements drop out; which of row i's, rows[i] alone decides.
  """
  if length == 0:
    return None
  shape = (spec.depth, length, width)
  tokens = encoder.variable(
    "prompts", "tokens", lambda: spec.init_std * jax.random.normal(encoder.make_rng("prompts"), shape, jnp.float32)
  ).value
  tokens = jnp.broadcast_to(tokens[:, None], (spec.depth, batch_size, length, width))
  if rows is None or spec.dropout == 0:
    return tokens
  key, share = encoder.make_rng("dropout"), 1 - spec.dropout
  # Not nn.Dropout, whose draw follows from the shape of the batch: chunks of it would draw otherwise than the whole.
  is_kept = jax.vmap(lambda row: jax.random.bernoulli(jax.random.fold_in(key, row), share, shape), out_axes=1)(rows)
  return jnp.where(is_kept, tokens / share, 0.0)
