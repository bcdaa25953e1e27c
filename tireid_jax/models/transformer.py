"""The pre-norm transformer of both encoders."""

import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tireid_jax.models.attention import attend, attend_from
from tireid_jax.models.execution import REMAT_POLICIES, Execution
from tireid_jax.models.norm import LayerNorm
from tireid_jax.models.variants import Tower

# A position in each sequence of a batch: the same in all, or one for each.
Position = int | Int[Array, " B"]

ACTIVATIONS = {
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}


class Attention(nn.Module):
  """Multi-head self-attention with separate query, key and value projections, faster on TPU than a joint one."""

  num_heads: int
  is_causal: bool
  execution: Execution

  @nn.compact
  def __call__(self, x: Float[Array, "B L D"], position: Position | None = None) -> Float[Array, "B L D"]:
    """Returns the output at every position, or f[B, 1, D] at the one `position` of each sequence."""
    width, dense = x.shape[-1], self.execution.dense
    sources = {"query": select_position(x, position), "key": x, "value": x}
    query, key, value = (
      dense(width, name=name)(source).reshape(*source.shape[:-1], self.num_heads, -1)
      for name, source in sources.items()
    )  # [B, L, H, K] each
    if position is not None:
      mixed = attend_from(query, key, value, cast(Array, position) if self.is_causal else None)
    elif self.execution.attention == "xla":
      mixed = attend(query, key, value, self.is_causal)
    else:
      mixed = jax.nn.dot_product_attention(
        query, key, value, is_causal=self.is_causal, implementation=self.execution.attention
      )
    return dense(width, name="out")(mixed.reshape(*mixed.shape[:2], width))


class Block(nn.Module):
  """One pre-norm residual block. Its prompts, if any, enter before everything else."""

  tower: Tower
  is_causal: bool
  activation: str
  eps: float
  execution: Execution

  @nn.compact
  def __call__(
    self, x: Float[Array, "B L D"], prompts: Any, position: Position | None = None
  ) -> tuple[Float[Array, "B L D"], None]:
    """Returns (output, None), the carry and the stacked output of `nn.scan`.

    Args:
      x: with room for the prompts.
      prompts: this block's slice of what `insert_prompts` returned; None for an encoder without prompts.
      position: the only position of each sequence whose output is needed, returned as f[B, 1, D]; None for all.
    """
    if prompts is not None:
      x = prompts.enter(x)
    dense, constrain = self.execution.dense, self.execution.constrain
    x = constrain(x, "batch")
    attention = Attention(self.tower.num_heads, self.is_causal, self.execution, name="attn")
    x = select_position(x, position) + attention(LayerNorm(self.eps, name="ln_1")(x), position)
    x = constrain(x, "batch")
    hidden = dense(self.tower.mlp_width, name="fc")(LayerNorm(self.eps, name="ln_2")(x))
    x = x + dense(x.shape[-1], name="proj")(ACTIVATIONS[self.activation](hidden))
    return constrain(x, "batch"), None


def select_position(x: Float[Array, "B L D"], position: Position | None) -> Float[Array, "B L D"]:
  """Returns the token at `position` of each sequence, f[B, 1, D], or x if it is None."""
  if position is None:
    return x
  return x[:, position, None] if isinstance(position, int) else jnp.take_along_axis(x, position[:, None, None], axis=1)


class Transformer(nn.Module):
  """A stack of blocks, run as a loop or unrolled, with the same variables and results.

  Only the output at one position of each sequence is needed. The last block is therefore separate: of the other
  positions it computes the keys and values alone. The weights of all others are stacked.
  """

  tower: Tower
  is_causal: bool
  activation: str
  eps: float
  execution: Execution

  @nn.compact
  def __call__(self, x: Float[Array, "B L D"], position: Position, prompts: Any = None) -> Float[Array, "B D"]:
    """Returns the output at `position` of each sequence.

    Args:
      x: with room for the prompts.
      position: whose output is needed.
      prompts: of `insert_prompts`, each leaf with a leading axis of blocks; None for none.
    """
    block, how, num_blocks = Block, self.execution, self.tower.num_blocks
    if how.gather is not None:
      gathered = functools.partial(_gathered, how.gather, how.dtype)
      block = nn.map_variables(Block, "params", gathered, init=self.is_initializing())
    settings = self.tower, self.is_causal, self.activation, self.eps, how
    if self.is_initializing() and num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks)(*settings, name="blocks")(x, prompts)
      self._split_off_last_block()
      return select_position(x, position)[:, 0]
    prompts, last_prompts = (jax.tree.map(lambda leaf, at=at: leaf[at], prompts) for at in (slice(-1), -1))
    if num_blocks > 1:
      x, _ = _stacked(block, how, num_blocks - 1)(*settings, name="blocks")(x, prompts)
    # Never rematerialised, since it saves little.
    x, _ = block(*settings, name="last_block")(x, last_prompts, position)
    return x[:, 0]

  def _split_off_last_block(self):
    """Splits the weights initialised as one stack, so that they do not depend on how the blocks are stored."""
    initial: dict[str, Any] = self.get_variable("params", "blocks")
    parts = {
      name: jax.tree.map(lambda leaf, at=at: leaf[at], initial)
      for name, at in (("blocks", slice(-1)), ("last_block", -1))
    }
    for name, weights in parts.items():  # both are sliced first, since this overwrites the stack
      self.put_variable("params", name, weights)


def _stacked(block, how, length):
  """Returns the class of `length` blocks in sequence with stacked weights and prompts, run as Execution `how`."""
  if how.remat != "none":
    block = nn.remat(block, policy=REMAT_POLICIES[how.remat], prevent_cse=not how.scan_blocks)
  return nn.scan(
    block,
    # "intermediates" is Flax's collection of captured outputs, empty unless a caller requests them.
    variable_axes={"params": 0, "intermediates": 0},
    split_rngs={"params": True},
    length=length,
    unroll=1 if how.scan_blocks else length,
  )


def _gathered(gather, dtype, variables):
  """Returns {"params": weights of a block}, gathered and cast as the block uses them."""
  return jax.tree_util.tree_map_with_path(
    lambda path, weight: gather(jax.tree_util.keystr(path[1:], simple=True, separator="/"), weight, dtype), variables
  )
