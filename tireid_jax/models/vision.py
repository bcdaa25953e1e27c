"""CLIP's image transformer."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tireid_jax.models.execution import Execution
from tireid_jax.models.norm import LayerNorm
from tireid_jax.models.prompts import PromptSpec, insert_prompts
from tireid_jax.models.transformer import Transformer
from tireid_jax.models.variants import Tower, patch_grid


class ImageEncoder(nn.Module):
  """Class token, patches, transformer; the class token's output projected into the joint space.

  Prompts are inserted after `ln_pre`, in block 0 as in all later blocks; they have no position embedding.
  """

  image_size: tuple[int, int]
  patch_size: int
  stride: int
  tower: Tower
  embedding_size: int
  activation: str
  eps: float
  prompts: PromptSpec
  execution: Execution

  @nn.compact
  def __call__(self, images: Float[Array, "B h w 3"], indices: Int[Array, " B"] | None) -> Float[Array, "B E"]:
    """Returns embeddings, float32 and not normalised.

    Args:
      images: normalised with CLIP's mean and standard deviation.
      indices: indices of the images in the global batch, for the prompts' dropout in training; None for no dropout.
    """
    if images.shape[1:] != (*self.image_size, 3):
      raise ValueError(
        f"the image encoder takes [B, {self.image_size[0]}, {self.image_size[1]}, 3], got {images.shape}"
      )
    dtype, constrain = self.execution.dtype, self.execution.constrain
    scale = self.tower.width**-0.5
    x = self.execution.dense(self.tower.width, use_bias=False, name="patch_embedding")(
      self._patches(constrain(images, "batch"))
    )
    class_token = self.param("class_embedding", nn.initializers.normal(scale), (self.tower.width,))
    positions = self.param("position_embedding", nn.initializers.normal(scale), (1 + x.shape[1], self.tower.width))
    class_token = jnp.broadcast_to(class_token.astype(dtype), (x.shape[0], 1, self.tower.width))
    x = jnp.concatenate([class_token, x], axis=1) + positions.astype(dtype)  # [B, 1 + patches, D]
    x = LayerNorm(self.eps, name="ln_pre")(constrain(x, "batch"))
    num_tokens, num_blocks = self.prompts.image_length, self.tower.num_blocks
    x, output, prompts = insert_prompts(self, self.prompts, num_tokens, x, 0, indices, num_blocks=num_blocks)
    transformer = Transformer(self.tower, False, self.activation, self.eps, self.execution, name="transformer")
    x = transformer(x, output, prompts)  # [B, D]
    x = LayerNorm(self.eps, name="ln_post")(x)
    x = self.execution.dense(self.embedding_size, use_bias=False, name="projection")(x)
    return constrain(x.astype(jnp.float32), "batch")

  def _patches(self, images):
    """Returns f[B, patches, patch * patch * 3]: patches in raster order, each flattened by row, column and channel."""
    size, stride = self.patch_size, self.stride or self.patch_size
    rows, columns = patch_grid(self.image_size, size, stride)
    images = images.astype(self.execution.dtype)
    if stride == size:
      images = images[:, : rows * size, : columns * size].reshape(-1, rows, size, columns, size, 3)
    else:
      pixels = np.arange(size)
      images = images[:, stride * np.arange(rows)[:, None] + pixels]  # [B, rows, patch, w, 3]
      images = images[:, :, :, stride * np.arange(columns)[:, None] + pixels]  # [B, rows, patch, columns, patch, 3]
    return images.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, size * size * 3)
