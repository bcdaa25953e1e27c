"""The model that a config describes: its variant, and the CLIP module."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tireid_jax import fields
from tireid_jax.config import schema
from tireid_jax.data.prepared import splits
from tireid_jax.errors import UserError, did_you_mean
from tireid_jax.models import pretrained, variants
from tireid_jax.models.clip import CLIP
from tireid_jax.models.execution import (
  Execution,
  choose_attention,
  choose_dot_general,
  choose_remat,
  scans_blocks,
  unconstrained,
)
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import VARIANTS, Variant
from tireid_jax.terminal.progress import log_line
from tireid_jax.training.sources import Source
from tireid_jax.workdir import best_checkpoint

# As config.model.variant: sizes and numerics as the weights have them.
FROM_WEIGHTS = "from_weights"

_log_once = functools.cache(log_line)


def find_variant(config: ConfigDict, source: Source | None) -> Variant:
  """Returns the Variant that a config names; for "from_weights", the one of the weights that a run starts from.

  Args:
    config: of the run.
    source: from `find_source`; read only for "from_weights".

  Raises:
    UserError: the variant is unknown, or there are no weights that define it.
  """
  name, heads = config.model.variant, config.model.num_heads
  if name == FROM_WEIGHTS:
    if source is None:
      raise UserError(f"model.variant={name} needs weights to start from; name a variant: {', '.join(VARIANTS)}")
    kind, path = source
    if kind == "checkpoint":
      return variants.from_json(best_checkpoint.read_metadata(path)["variant"])
    return pretrained.open_weights(
      path, tuple(config.data.image_size), num_heads=heads, activation=config.model.activation,
      stride=config.model.stride, prefix=config.pretrained_prefix,
    ).variant  # fmt: skip
  if name not in VARIANTS:
    raise UserError(
      f"model.variant is {name!r}{did_you_mean(name, VARIANTS)}; it must be {FROM_WEIGHTS} or one of "
      f"{', '.join(VARIANTS)}"
    )
  variant = VARIANTS[name]
  image, text = (
    dataclasses.replace(tower, num_heads=given or tower.num_heads)
    for tower, given in zip((variant.image, variant.text), heads, strict=True)
  )
  activation = config.model.activation or variant.activation
  return dataclasses.replace(variant, image=image, text=text, activation=activation)


def check_weights(config: ConfigDict, source: Source | None, variant: Variant) -> None:
  """Raises UserError or MissingFileError for weights that are missing, damaged or of another model.

  Args:
    config: of the run.
    source: from `find_source`.
    variant: from `find_variant`.
  """
  if source is None:
    return
  kind, path = source
  if kind == "checkpoint":
    check_same_model(best_checkpoint.read_metadata(path), variant, path)
  else:
    pretrained.open_weights(
      path, tuple(config.data.image_size), variant=variant, stride=config.model.stride, prefix=config.pretrained_prefix
    )


def check_same_model(metadata: dict[str, Any], variant: Variant, path: str | os.PathLike) -> None:
  """Raises UserError if a checkpoint is of another model; the number of heads, for example, does not change any shape.

  The image size that published weights were made for may differ, since the position table has been resized.
  """
  found = dataclasses.replace(variants.from_json(metadata["variant"]), native_image_size=variant.native_image_size)
  wrong = variants.differences(found, variant)
  if wrong:
    named = "; ".join(
      f"{field} is {there} in the checkpoint, {here} in the config" for field, (there, here) in wrong.items()
    )
    raise UserError(
      f"the checkpoint in {path} is of another model: {named}; set --config.model.* as it was trained, or "
      f"--config.model.variant={FROM_WEIGHTS} to take its own"
    )


def check_tokens(variant: Variant, info: dict[str, Any]) -> None:
  """Raises UserError if a Variant cannot read the captions of a prepared data set, from its `dataset_info`."""
  splits.check_tokens(
    info, vocabulary_size=variant.vocabulary_size, end_token=variant.end_token, text_length=variant.text_length
  )


def build_model(
  config: ConfigDict,
  variant: Variant,
  *,
  use_prompts: bool,
  precision: str,
  platform: str | None = None,
  constrain: Callable = unconstrained,
  gather: Callable | None = None,
) -> CLIP:
  """Returns the CLIP module of a Variant, as a config describes it.

  Args:
    config: of the run.
    variant: Variant.
    use_prompts, precision: as in the stage's config.
    platform: of the devices that will run it; None for those of this process.
    constrain, gather: as in Execution.

  Raises:
    UserError: the prompts do not fit the model, or a field has a value that is not allowed.
  """
  spec = PromptSpec(**config.prompts.to_dict()) if use_prompts else PromptSpec()
  spec.check(variant.image.num_blocks, variant.text.num_blocks)
  fields.check(schema.Model, config.model, "model.")
  platform = platform or jax.default_backend()
  if precision == "auto":
    precision = "float32" if platform == "cpu" else "bfloat16"
  attention = choose_attention(
    config.model.attention, variant=variant, dtype=precision, platform=platform,
    lengths=variants.sequence_lengths(variant, config.data.image_size, config.model.stride, spec), log=_log_once,
  )  # fmt: skip
  scan_blocks = scans_blocks(config.model.blocks, platform=platform)
  remat = choose_remat(config.model.remat, scan_blocks=scan_blocks)
  dot_general = choose_dot_general(dtype=precision, platform=platform)
  execution = Execution(jnp.dtype(precision), scan_blocks, remat, attention, constrain, gather, dot_general)
  return CLIP(variant, tuple(config.data.image_size), spec, execution, config.model.stride)
