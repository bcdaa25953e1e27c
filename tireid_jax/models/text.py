"""CLIP's text transformer."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tireid_jax.models.execution import Execution
from tireid_jax.models.norm import LayerNorm
from tireid_jax.models.prompts import PromptSpec, insert_prompts
from tireid_jax.models.transformer import Transformer
from tireid_jax.models.variants import Tower


class TextEncoder(nn.Module):
  """Causal transformer over byte-pair tokens; the output at the first end token projected into the joint space.

  Prompts have no position embedding and take nothing away from the caption's length.
  """

  tower: Tower
  vocabulary_size: int
  text_length: int
  end_token: int
  embedding_size: int
  activation: str
  eps: float
  prompts: PromptSpec
  execution: Execution

  @nn.compact
  def __call__(self, tokens: Int[Array, "B L"], indices: Int[Array, " B"] | None) -> Float[Array, "B E"]:
    """Returns embeddings, float32 and not normalised.

    Args:
      tokens: start token, caption, end token, zeros; L at most `text_length`. Ids after the first end token are
        ignored.
      indices: indices of the captions in the global batch, for the prompts' dropout in training; None for no dropout.
    """
    if tokens.shape[1] > self.text_length:
      raise ValueError(f"captions hold at most {self.text_length} tokens, got {tokens.shape}; cut them with tokenize()")
    dtype, constrain = self.execution.dtype, self.execution.constrain
    # Initial standard deviations as in OpenAI's model.
    x = nn.Embed(
      self.vocabulary_size,
      self.tower.width,
      embedding_init=nn.initializers.normal(0.02),
      name="token_embedding",
    )(constrain(tokens, "batch_over_data")).astype(dtype)  # casts the embeddings of these tokens, not the whole table
    positions = self.param("position_embedding", nn.initializers.normal(0.01), (self.text_length, self.tower.width))
    x = constrain(constrain(x, "width_over_fsdp"), "batch") + positions[: tokens.shape[1]].astype(dtype)  # [B, L, D]
    end = jnp.argmax(tokens == self.end_token, axis=1)  # [B], the first end token
    num_tokens, num_blocks = self.prompts.text_length, self.tower.num_blocks
    x, output, prompts = insert_prompts(self, self.prompts, num_tokens, x, end, indices, num_blocks=num_blocks)
    transformer = Transformer(self.tower, True, self.activation, self.eps, self.execution, name="transformer")
    x = transformer(x, output, prompts)  # [B, D]
    x = LayerNorm(self.eps, name="ln_final")(x)
    x = self.execution.dense(self.embedding_size, use_bias=False, name="projection")(x)
    return constrain(x.astype(jnp.float32), "batch")
