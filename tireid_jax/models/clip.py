"""CLIP with learnable prompts in both encoders."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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
  """Two encoders into one space. Weights live in the collection "params", prompts in "prompts".

  Attributes:
    variant: sizes and numerics.
    image_size: (h, w) of the images it takes, pixels.
    prompts: how many prompt tokens, where; the default has none, which is plain CLIP.
    execution: how it is computed.
    stride: pixels from one image patch to the next; 0 for the patch size, less for patches that overlap.
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

  def __call__(self, images, tokens, *, image_rows=None, text_rows=None):
    """Returns (image f32[B, E], text f32[B, E]), not normalised; as the two methods below."""
    return self.encode_image(images, rows=image_rows), self.encode_text(tokens, rows=text_rows)

  def encode_image(self, images, *, rows=None):
    """Returns f32[B, E], not normalised.

    Args:
      images: f32[B, h, w, 3] normalised with CLIP's mean and deviation.
      rows: i32[B], in training alone: places of the images in the whole batch, from which the prompts' dropout draws.
    """
    return self.image_encoder(images, rows)

  def encode_text(self, tokens, *, rows=None):
    """Returns f32[B, E], not normalised.

    Args:
      tokens: i32[B, L], L at most `variant.text_length`.
      rows: i32[B], in training alone: places of the captions in the whole batch.
    """
    return self.text_encoder(tokens, rows)


def init_variables(model, key):
  """Returns freshly drawn {"params": ..., "prompts": ...}; "prompts" is {} where the model has none."""
  images = jnp.zeros((1, *model.image_size, 3))
  tokens = jnp.zeros((1, 8), jnp.int32)
  params_key, prompts_key = jax.random.split(key)
  variables = model.init({"params": params_key, "prompts": prompts_key}, images, tokens)
  return {"params": variables["params"], "prompts": variables.get("prompts", {})}
