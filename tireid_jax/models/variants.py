"""Sizes of the CLIP models by name, as published, and `tiny` for the demo and the tests."""

import dataclasses

TEXT_LENGTH = 77
VOCABULARY_SIZE = 49_408


@dataclasses.dataclass(frozen=True)
class Tower:
  """Sizes of one transformer. Its MLP is four times as wide as the residual stream."""

  width: int
  num_blocks: int
  num_heads: int


@dataclasses.dataclass(frozen=True)
class Variant:
  """Everything about a CLIP model that its weights' shapes and numerics depend on.

  Attributes:
    image, text: sizes of the two transformers.
    patch_size: side of a square image patch, pixels.
    embedding_size: width of the joint embedding, E.
    native_image_size: (h, w) the published weights were trained at, pixels; their position table has that grid.
    activation: "quick_gelu" (OpenAI's weights) or "gelu" (exact).
    layer_norm_eps: added to the variance in every LayerNorm.
  """

  image: Tower
  text: Tower
  patch_size: int
  embedding_size: int
  native_image_size: tuple[int, int] = (224, 224)
  activation: str = "quick_gelu"
  layer_norm_eps: float = 1e-5


_TEXT_B = Tower(width=512, num_blocks=12, num_heads=8)
_TEXT_L = Tower(width=768, num_blocks=12, num_heads=12)
_IMAGE_B = Tower(width=768, num_blocks=12, num_heads=12)
_IMAGE_L = Tower(width=1024, num_blocks=24, num_heads=16)

VARIANTS = {
  "tiny": Variant(
    image=Tower(width=128, num_blocks=4, num_heads=4),
    text=Tower(width=64, num_blocks=3, num_heads=2),
    patch_size=16,
    embedding_size=64,
    native_image_size=(96, 48),
  ),
  "ViT-B/32": Variant(image=_IMAGE_B, text=_TEXT_B, patch_size=32, embedding_size=512),
  "ViT-B/16": Variant(image=_IMAGE_B, text=_TEXT_B, patch_size=16, embedding_size=512),
  "ViT-L/14": Variant(image=_IMAGE_L, text=_TEXT_L, patch_size=14, embedding_size=768),
  "ViT-L/14@336": Variant(
    image=_IMAGE_L, text=_TEXT_L, patch_size=14, embedding_size=768, native_image_size=(336, 336)
  ),
}


def patch_grid(image_size, patch_size):
  """Returns the (rows, columns) of patches; pixels beyond the last whole patch are not seen, as in the source."""
  rows, columns = image_size[0] // patch_size, image_size[1] // patch_size
  if rows < 1 or columns < 1:
    raise ValueError(f"image_size {tuple(image_size)} holds no patch of {patch_size}x{patch_size} pixels")
  return rows, columns
