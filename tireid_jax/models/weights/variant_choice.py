"""The variant that weights are for: inferred, as configured, or both compared."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

from tireid_jax.errors import UserError
from tireid_jax.models.variants import VARIANTS, Variant, differences, patch_grid


def openai_variant(from_shapes: Callable[..., Variant]) -> Variant:
  """Returns the Variant of a TorchScript archive, a format in which only OpenAI published: heads are 64 wide."""
  found = from_shapes(num_heads=(1, 1), activation="quick_gelu")
  image, text = (dataclasses.replace(tower, num_heads=tower.width // 64) for tower in (found.image, found.text))
  return dataclasses.replace(found, image=image, text=text)


def check_grid_is_unambiguous(variant: Variant, image_size: tuple[int, int], stride: int) -> None:
  """Raises UserError if the position embeddings fit both a square grid and that of `image_size`, of another shape."""
  square, wanted = (
    patch_grid(variant.native_image_size, variant.patch_size),
    patch_grid(image_size, variant.patch_size, stride),
  )
  if square != wanted and math.prod(square) == math.prod(wanted):
    either = " or ".join(f"{rows}x{columns}" for rows, columns in (square, wanted))
    raise UserError(f"its position embeddings fit a grid of {either} patches; set --config.model.variant")


def override(variant: Variant, num_heads: tuple[int, int] | None, activation: str | None) -> Variant:
  """Returns the Variant with the given heads and activation, where given."""
  image, text = (
    dataclasses.replace(tower, num_heads=heads or tower.num_heads)
    for tower, heads in zip((variant.image, variant.text), num_heads or (0, 0), strict=True)
  )
  return dataclasses.replace(variant, image=image, text=text, activation=activation or variant.activation)


def check_variant(found: Variant, wanted: Variant, path: pathlib.Path) -> None:
  """Raises UserError if the weights are for another model than requested.

  Their native image size may differ, since the position embeddings are resized.
  """
  found = dataclasses.replace(found, native_image_size=wanted.native_image_size)
  wrong = differences(found, wanted)
  if wrong:
    name = next((name for name, variant in VARIANTS.items() if not differences(found, variant)), "from_weights")
    listed = "; ".join(f"{field} is {stored}, not {requested}" for field, (stored, requested) in wrong.items())
    raise UserError(
      f"the weights in {path} are for a different model than configured: their {listed}; set "
      f"--config.model.variant={name} and leave model.num_heads and model.activation unset"
    )
