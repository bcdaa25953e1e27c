"""The pre-norm transformer that both encoders share, with prompts swapped in at each block."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tireid_jax.models.attention import attend, attend_from
from tireid_jax.models.execution import REMAT_POLICIES, Execution
from tireid_jax.models.norm import LayerNorm
from tireid_jax.models.variants import Tower

ACTIVATIONS = {
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}


class Attention(nn.Module):
  """Multi-head self-attention; three projections rather than one, the faster form on TPU."""

  num_heads: int
  is_causal: bool
  execution: Execution

  @nn.compact
  def __call__(self, x, place=None):
    """Returns f[B, L, D], or f[B, 1, D] at one place of each row.

    Args:
      x: f[B, L, D].
      place: int or i32[B], the place at which each row's outcome is wanted; None for all of them.
    """
    width, dense = x.shape[-1], self.execution.dense
    sources = {"query": take_place(x, place), "key": x, "value": x}
    query, key, value = (
      dense(width, name=name)(source).reshape(*source.shape[:-1], self.num_heads, -1)
      for name, source in sources.items()
    )  # [B, L, H, K] each
    if place is not None:
      mixed = attend_from(query, key, value, place if self.is_causal else None)
    elif self.execution.attention == "xla":
      mixed = attend(query, key, value, self.is_causal)
    else:
      mixed = jax.nn.dot_product_attention(
        query, key, value, is_causal=self.is_causal, implementation=self.execution.attention
      )
    return dense(width, name="out")(mixed.reshape(*mixed.shape[:2], width))


class Block(nn.Module):
  """One residual block. Its first act is to put its prompts, if it has any, in their places."""

  tower: Tower
  is_causal: bool
  activation: str
  eps: float
  execution: Execution

  @nn.compact
  def __call__(self, x, prompt, place=None):
    """Returns (x f[B, L, D], None), the pair that `nn.scan` wants; f[B, 1, D] at one place of each row.

    Args:
      x: f[B, L, D] with the prompts' places at 1..P.
      prompt: (tokens f[B, P, D], is_prompted bool[]), or None where the encoder has no prompts.
      place: int or i32[B], the place at which each row's outcome is wanted; None for all of them.
    """
    if prompt is not None:
      x = _place_prompts(x, *prompt)
    dense, put = self.execution.dense, self.execution.place
    x = put(x, "rows")
    attention = Attention(self.tower.num_heads, self.is_causal, self.execution, name="attn")
    x = take_place(x, place) + attention(LayerNorm(self.eps, name="ln_1")(x), place)
    x = put(x, "rows")
    hidden = dense(self.tower.mlp_width, name="fc")(LayerNorm(self.eps, name="ln_2")(x))
    x = x + dense(x.shape[-1], name="proj")(ACTIVATIONS[self.activation](hidden))
    return put(x, "rows"), None


def take_place(x, place):
  """Returns f[B, 1, D] of f[B, L, D]: what stands at `place`, int or i32[B], of each row; x where it is None."""
  if place is None:
    return x
  return x[:, place, None] if isinstance(place, int) else jnp.take_along_axis(x, place[:, None, None], axis=1)


def _place_prompts(x, tokens, is_prompted):
  """Returns x with its places 1..P replaced by `tokens`, or as it came beyond the prompts' depth."""
  length, num_prompts = x.shape[1], tokens.shape[1]
  place = jnp.arange(length)[:, None]
  is_prompt = is_prompted & (place >= 1) & (place <= num_prompts)  # [L, 1]
  # Chosen between, not cut and joined: on a TPU, parts that start at odd places are copied.
  placed = jnp.pad(tokens.astype(x.dtype), [(0, 0), (1, length - 1 - num_prompts), (0, 0)])
  return jnp.where(is_prompt, placed, x)


class Transformer(nn.Module):
  """A stack of blocks with stacked weights, run as a loop or unrolled: the same variables and results.

  One place of each row is all that is asked for. So the last block stands apart: what it does for the other places is
  to find their keys and values.
  """

  tower: Tower
  is_causal: bool
  activation: str
  eps: float
  execution: Execution

  @nn.compact
  def __call__(self, x, place, prompts=None):
    """Returns f[B, D], what comes out at one place of each row.

    Args:
      x: f[B, L, D] with room for the prompts at 1..P.
      place: int or i32[B].
      prompts: None or f32[depth, B, P, D], depth at most the number of blocks.
    """
    block, how, num_blocks = Block, self.execution, self.tower.num_blocks
    if how.gather is not None:
      gathered = functools.partial(_gathered, how.gather, how.dtype)
      block = nn.map_variables(Block, "params", gathered, init=self.is_initializing(), mutable=True)
    settings = self.tower, self.is_causal, self.activation, self.eps, how
    last_prompt = None
    if prompts is not None:
      depth = prompts.shape[0]
      prompts = jnp.pad(prompts, [(0, num_blocks - depth)] + [(0, 0)] * 3), jnp.arange(num_blocks) < depth
    if self.is_initializing() and num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks)(*settings, name="blocks")(x, prompts)
      self._part_from_the_last()
      return take_place(x, place)[:, 0]
    if prompts is not None:
      prompts, last_prompt = (tuple(part[at] for part in prompts) for at in (slice(-1), -1))
    if num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks - 1)(*settings, name="blocks")(x, prompts)
    # Never computed again: it keeps little.
    x, _ = block(*settings, name="last_block")(x, last_prompt, place)
    return x[:, 0]

  def _part_from_the_last(self):
    """Makes two of the weights drawn for a stack of all blocks, which so do not depend on how they are kept."""
    drawn: dict[str, Any] = self.get_variable("params", "blocks")
    parts = {
      name: jax.tree.map(lambda leaf, at=at: leaf[at], drawn)
      for name, at in (("blocks", slice(-1)), ("last_block", -1))
    }
    for name, weights in parts.items():  # both were made before, since writing one changes what was drawn
      self.put_variable("params", name, weights)


def _stacked(block, how, length):
  """Returns the class of so many blocks in turn, their weights and prompts stacked, run as the Execution `how` says."""
  if how.remat != "none":
    block = nn.remat(block, policy=REMAT_POLICIES[how.remat], prevent_cse=not how.scan_blocks)
  return nn.scan(
    block,
    # The second is Flax's own, of captured outputs; it is empty unless a caller asks for them.
    variable_axes={"params": 0, "intermediates": 0},
    split_rngs={"params": True},
    length=length,
    unroll=1 if how.scan_blocks else length,
  )


def _gathered(gather, dtype, variables):
  """Returns {"params": a block's weights} as it uses them."""
  return jax.tree_util.tree_map_with_path(
    lambda path, weight: gather(jax.tree_util.keystr(path[1:], simple=True, separator="/"), weight, dtype), variables
  )
