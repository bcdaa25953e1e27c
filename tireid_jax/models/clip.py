"""CLIP with learnable prompts in both encoders."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tireid_jax.errors import UserError
from tireid_jax.models.execution import Execution
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.text import TextEncoder
from tireid_jax.models.transformer import ACTIVATIONS
from tireid_jax.models.variants import Variant, patch_grid
from tireid_jax.models.vision import ImageEncoder

# 1/0.07, where OpenAI's training started.
INITIAL_LOGIT_SCALE = 2.659260036932778


class CLIP(nn.Module):
  """Image and text encoder into a joint embedding space; weights are in the collection "params", prompts in "prompts".

  Attributes:
    variant: sizes and numerics.
    image_size: (h, w) of the input images, pixels.
    prompts: number and placement of prompt tokens; none by default, which is plain CLIP.
    execution: how it is computed.
    stride: pixels between adjacent patches; 0 for the patch size, less for overlapping patches.
  """

  variant: Variant
  image_size: tuple[int, int]
  prompts: PromptSpec = PromptSpec()
  execution: Execution = Execution()
  stride: int = 0

  def setup(self):
    variant, spec = self.variant, self.prompts
    spec.check(variant.image.num_blocks, variant.text.num_blocks)
    patch_grid(self.image_size, variant.patch_size, self.stride)
    if variant.activation not in ACTIVATIONS:
      raise UserError(f"activation is {variant.activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
    common: dict[str, Any] = {
      "embedding_size": variant.embedding_size,
      "activation": variant.activation,
      "eps": variant.layer_norm_eps,
      "prompts": spec,
      "execution": self.execution,
    }
    self.image_encoder = ImageEncoder(
      image_size=self.image_size, patch_size=variant.patch_size, stride=self.stride, tower=variant.image, **common
    )
    self.text_encoder = TextEncoder(
      tower=variant.text, vocabulary_size=variant.vocabulary_size, text_length=variant.text_length,
      end_token=variant.end_token, **common,
    )  # fmt: skip
    self.logit_scale = self.param("logit_scale", nn.initializers.constant(INITIAL_LOGIT_SCALE), ())

  def __call__(
    self,
    images: Float[Array, "I h w 3"],
    tokens: Int[Array, "B L"],
    *,
    image_indices: Int[Array, " I"] | None = None,
    text_indices: Int[Array, " B"] | None = None,
  ) -> tuple[Float[Array, "I E"], Float[Array, "B E"]]:
    """Returns (image, text) embeddings of the two methods below."""
    return self.encode_image(images, indices=image_indices), self.encode_text(tokens, indices=text_indices)

  def encode_image(
    self, images: Float[Array, "B h w 3"], *, indices: Int[Array, " B"] | None = None
  ) -> Float[Array, "B E"]:
    """Returns embeddings, float32 and not normalised.

    Args:
      images: normalised with CLIP's mean and standard deviation.
      indices: only in training: indices of the images in the global batch, which seed the prompts' dropout.
    """
    return self.image_encoder(images, indices)

  def encode_text(self, tokens: Int[Array, "B L"], *, indices: Int[Array, " B"] | None = None) -> Float[Array, "B E"]:
    """Returns embeddings, float32 and not normalised.

    Args:
      tokens: L at most `variant.text_length`.
      indices: only in training: indices of the captions in the global batch, which seed the prompts' dropout.
    """
    return self.text_encoder(tokens, indices)


def init_variables(model: CLIP, key: Array) -> dict[str, Any]:
  """Returns randomly initialised {"params": ..., "prompts": ...}; "prompts" is {} for a model without prompts."""
  images = jnp.zeros((1, *model.image_size, 3))
  tokens = jnp.zeros((1, min(8, model.variant.text_length)), jnp.int32)
  params_key, prompts_key = jax.random.split(key)
  variables = model.init({"params": params_key, "prompts": prompts_key}, images, tokens)
  return {"params": variables["params"], "prompts": variables.get("prompts", {})}
