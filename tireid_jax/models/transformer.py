"""The pre-norm transformer that both encoders share, whose blocks let prompts enter."""

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
  """One pre-norm residual block, which its prompts enter first."""

  tower: Tower
  is_causal: bool
  activation: str
  eps: float
  execution: Execution

  @nn.compact
  def __call__(self, x, prompts, place=None):
    """Returns (x f[B, L, D], None), the pair that `nn.scan` wants; f[B, 1, D] at one place of each row.

    Args:
      x: f[B, L, D] with room for the prompts.
      prompts: this block's slice of what `insert_prompts` returned, or None where the encoder has no prompts.
      place: int or i32[B], the place at which each row's outcome is wanted; None for all of them.
    """
    if prompts is not None:
      x = prompts.enter(x)
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
      x: f[B, L, D] with room for the prompts.
      place: int or i32[B].
      prompts: of `insert_prompts`, with a leading axis of blocks; None for none.
    """
    block, how, num_blocks = Block, self.execution, self.tower.num_blocks
    if how.gather is not None:
      gathered = functools.partial(_gathered, how.gather, how.dtype)
      block = nn.map_variables(Block, "params", gathered, init=self.is_initializing(), mutable=True)
    settings = self.tower, self.is_causal, self.activation, self.eps, how
    if self.is_initializing() and num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks)(*settings, name="blocks")(x, prompts)
      self._part_from_the_last()
      return take_place(x, place)[:, 0]
    prompts, last_prompts = (jax.tree.map(lambda leaf, at=at: leaf[at], prompts) for at in (slice(-1), -1))
    if num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks - 1)(*settings, name="blocks")(x, prompts)
    # Never computed again: it keeps little.
    x, _ = block(*settings, name="last_block")(x, last_prompts, place)
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
