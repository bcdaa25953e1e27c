"""Sizes of the CLIP models by name, as published, `tiny` for the demo and the tests, and `small` for `pretrain`."""

import dataclasses
import math
from typing import Any

from tireid_jax.errors import UserError

# No published CLIP comes near this size; a larger one means a damaged file.
MAX_SIZE = 10**7


@dataclasses.dataclass(frozen=True)
class Tower:
  """Sizes of one transformer.

  Attributes:
    width: of the residual stream, D.
    num_blocks: transformer blocks.
    num_heads: attention heads of each block.
    mlp_width: hidden width of each block's MLP; four times `width` by default.
  """

  width: int
  num_blocks: int
  num_heads: int
  mlp_width: int = 0

  def __post_init__(self):
    _check_counts(self, "width", "num_blocks")
    object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
    _check_counts(self, "mlp_width")
    if type(self.num_heads) is not int or self.num_heads < 1 or self.width % self.num_heads:
      raise UserError(f"{self.num_heads} heads do not divide a width of {self.width}")


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
    vocabulary_size: entries of the token embedding table, V.
    text_length: entries of the text position table, the longest caption in tokens.
    end_token: id at whose first occurrence a caption is pooled.
  """

  image: Tower
  text: Tower
  patch_size: int
  embedding_size: int
  native_image_size: tuple[int, int] = (224, 224)
  activation: str = "quick_gelu"
  layer_norm_eps: float = 1e-5
  vocabulary_size: int = 49_408
  text_length: int = 77
  end_token: int = 49_407

  def __post_init__(self):
    _check_counts(self, "patch_size", "embedding_size", "vocabulary_size", "text_length")
    size = self.native_image_size
    if not (isinstance(size, tuple) and len(size) == 2 and all(_is_count(side) for side in size)):
      raise UserError(f"native_image_size is {str(size)[:50]}; it must be (height, width) in whole pixels")
    if type(self.end_token) is not int or not 0 <= self.end_token < self.vocabulary_size:
      raise UserError(f"end_token is {str(self.end_token)[:50]}; it must be one of {self.vocabulary_size} ids")
    if not isinstance(self.activation, str):
      raise UserError(f"activation is {str(self.activation)[:50]}; it must be the name of one")
    if not isinstance(self.layer_norm_eps, (int, float)) or not 0 <= self.layer_norm_eps < 1:
      raise UserError(f"layer_norm_eps is {str(self.layer_norm_eps)[:50]}; it must be from 0 to 1")


def _check_counts(sizes, *fields):
  """Raises ValueError unless these fields are whole numbers from 1 to MAX_SIZE."""
  for field in fields:
    value = getattr(sizes, field)
    if not _is_count(value):
      raise UserError(f"{field} is {str(value)[:50]}; it must be a whole number from 1 to {MAX_SIZE:,}")


def _is_count(value):
  return type(value) is int and 1 <= value <= MAX_SIZE


def to_json(variant: Variant) -> dict[str, Any]:
  """Returns a Variant as JSON data."""
  return dataclasses.asdict(variant)


def from_json(data: dict[str, Any]) -> Variant:
  """Returns the Variant of `to_json`'s data.

  Raises:
    ValueError: if the data describe no Variant.
  """
  try:
    sizes = {name: Tower(**data[name]) for name in ("image", "text")}
    return Variant(**{**data, **sizes, "native_image_size": tuple(data["native_image_size"])})
  except (KeyError, TypeError) as error:
    raise UserError(f"a checkpoint's metadata describe no model ({error}); train this stage again") from error


def differences(found: Variant, wanted: Variant) -> dict[str, tuple[Any, Any]]:
  """Returns {field: (value found, value wanted)} of two Variants; a tower's fields as "image.num_heads"."""
  pairs = {}
  for field in dataclasses.fields(Variant):
    name, (a, b) = field.name, (getattr(found, field.name), getattr(wanted, field.name))
    if isinstance(a, Tower):
      parts = {f"{name}.{part.name}": (getattr(a, part.name), getattr(b, part.name)) for part in dataclasses.fields(a)}
      pairs.update(parts)
    else:
      pairs[name] = (a, b)
  return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


_TEXT_B = Tower(width=512, num_blocks=12, num_heads=8)
_TEXT_L = Tower(width=768, num_blocks=12, num_heads=12)
_TEXT_H = Tower(width=1024, num_blocks=24, num_heads=16)
_IMAGE_B = Tower(width=768, num_blocks=12, num_heads=12)
_IMAGE_L = Tower(width=1024, num_blocks=24, num_heads=16)
_IMAGE_H = Tower(width=1280, num_blocks=32, num_heads=16)

# OpenAI's weights, but for ViT-H/14, which LAION trained. LAION's B and L differ from OpenAI's in `activation` alone.
VARIANTS = {
  "tiny": Variant(
    image=Tower(width=128, num_blocks=4, num_heads=4),
    text=Tower(width=64, num_blocks=3, num_heads=2),
    patch_size=16,
    embedding_size=64,
    native_image_size=(96, 48),
  ),
  "small": Variant(
    image=Tower(width=128, num_blocks=6, num_heads=4),
    text=Tower(width=64, num_blocks=4, num_heads=2),
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
  "ViT-H/14": Variant(image=_IMAGE_H, text=_TEXT_H, patch_size=14, embedding_size=1024, activation="gelu"),
}


def patch_grid(image_size: tuple[int, int], patch_size: int, stride: int = 0) -> tuple[int, int]:
  """Returns the (rows, columns) of patches; pixels beyond the last whole patch are ignored, as in the source.

  Args:
    image_size: (h, w), pixels.
    patch_size: side of a patch, pixels.
    stride: pixels between adjacent patches, at most `patch_size`; 0 for `patch_size`, without overlap.
  """
  if not 0 <= stride <= patch_size:
    raise UserError(
      f"model.stride is {stride}; it must be 0 (patches side by side) or from 1 to the patch size, {patch_size} pixels"
    )
  rows, columns = ((side - patch_size) // (stride or patch_size) + 1 for side in image_size)
  if rows < 1 or columns < 1:
    raise UserError(f"image_size {tuple(image_size)} holds no patch of {patch_size}x{patch_size} pixels")
  return rows, columns


def sequence_lengths(variant: Variant, image_size: tuple[int, int], stride: int, prompts: Any) -> tuple[int, int]:
  """Returns the (image, text) lengths of the encoders' longest sequences, prompts included.

  Args:
    variant: Variant.
    image_size: (h, w), pixels.
    stride: as of `patch_grid`.
    prompts: PromptSpec.
  """
  num_patches = math.prod(patch_grid(image_size, variant.patch_size, stride))
  return prompts.sequence_lengths(1 + num_patches, variant.text_length)
