"""Loads published CLIP weights, in any supported file format, as variables of this model."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.clip import CLIP, INITIAL_LOGIT_SCALE, init_variables
from tireid_jax.models.variants import VARIANTS, Variant, patch_grid
from tireid_jax.models.weights import files, hub, leaves, names, packaged, settings, variant_choice
from tireid_jax.models.weights.positions import METHODS, resize_positions
from tireid_jax.models.weights.tensor import Tensor
from tireid_jax.terminal.progress import log_line

# Problems listed in an error message; the rest are only counted.
_NUM_SHOWN = 10

PathLike = str | os.PathLike[str]

_SCALE, _POSITIONS = "logit_scale", "vision_model.embeddings.position_embedding.weight"


@dataclasses.dataclass(frozen=True)
class Weights:
  """The weights of a CLIP, not read yet: the model they are for, and the files they are in.

  Attributes:
    path: of the file, or of the index of its shards.
    variant: sizes and numerics of the model.
    tensors: by Hugging Face name.
    prefix: put before CLIP's tensor names by the training code that wrote the file; "" for none.
    ignored: names of tensors that do not belong to CLIP, such as a classification head.
    shards: files that `path` is the index of; empty if `path` holds the tensors.
    revision: commit of the hub repository; "" if the weights are not from the hub or the commit is unknown.
  """

  path: pathlib.Path
  variant: Variant
  tensors: dict[str, Tensor]
  prefix: str
  ignored: list[str]
  shards: tuple[pathlib.Path, ...] = ()
  revision: str = ""


def load(
  path_or_hub_id: PathLike,
  image_size: tuple[int, int] = (384, 128),
  *,
  variant: Variant | str | None = None,
  num_heads: tuple[int, int] | None = None,
  activation: str | None = None,
  stride: int = 0,
  position_resize: str = "bilinear",
  prefix: str = "",
) -> tuple[CLIP, dict[str, Any]]:
  """Returns (CLIP module without prompts, variables {"params": f32 arrays, "prompts": {}}) of published weights.

  Args:
    path_or_hub_id: file or folder in any format that `weights.files` reads, the name of weights in this package
      (toy_clip), or a Hugging Face hub id ORGANISATION/NAME.
    image_size: (h, w) of the model's input in pixels; the position embeddings are resized to its patch grid.
    variant: the model that the weights must be for, a Variant or a name in VARIANTS; None accepts any. A bare state
      dict (one without a config file in its folder) needs either this or both `num_heads` and `activation`.
    num_heads: (image, text); 0 for that of the variant.
    activation: "quick_gelu" or "gelu"; None for that of the variant.
    stride: of the patches in pixels; 0 for the patch size. Patches overlap if it is smaller.
    position_resize: "bilinear", as in IRRA, or "bicubic" with antialiasing, as in open_clip.
    prefix: of the tensor names, which selects one CLIP in a file with several, such as a model and its moving average.

  Raises:
    MissingFileError: if there are no weights.
    UserError: if a tensor is missing, unexpected or of the wrong shape, or if the model cannot be determined.
  """
  weights = open_weights(
    path_or_hub_id, image_size, variant=variant, num_heads=num_heads, activation=activation, stride=stride,
    prefix=prefix,
  )  # fmt: skip
  return read(weights, image_size, stride=stride, position_resize=position_resize)


def read(
  weights: Weights, image_size: tuple[int, int], *, stride: int = 0, position_resize: str = "bilinear"
) -> tuple[CLIP, dict[str, Any]]:
  """Reads the tensors of open Weights; results, arguments and errors as in `load`."""
  if position_resize not in METHODS:
    raise UserError(f"position_resize is {position_resize!r}; it must be one of {', '.join(METHODS)}")
  height, width = image_size
  model = CLIP(weights.variant, (height, width), stride=stride)
  return model, {"params": _convert(weights, model, position_resize), "prompts": {}}


def open_weights(
  path_or_hub_id: PathLike,
  image_size: tuple[int, int] = (384, 128),
  *,
  variant: Variant | str | None = None,
  num_heads: tuple[int, int] | None = None,
  activation: str | None = None,
  stride: int = 0,
  prefix: str = "",
) -> Weights:
  """Returns the Weights of a file without reading any tensor; arguments and errors as in `load`."""
  if isinstance(variant, str):
    if variant not in VARIANTS:
      raise UserError(f"there is no variant {variant!r}; it must be one of {', '.join(VARIANTS)}")
    variant = VARIANTS[variant]
  found: Variant | None
  file, revision = open_file(path_or_hub_id)
  with _prefixing_errors(file.path):
    model = names.to_hugging_face(file.tensors, prefix)
  from_shapes = functools.partial(settings.from_shapes, model.tensors, image_size=image_size)
  if file.is_torchscript:
    with _prefixing_errors(file.path):
      found = variant_choice.openai_variant(from_shapes)
  else:
    found = settings.read_config(file.path, model.family)
  if found is not None:
    variant_choice.check_variant(found, variant_choice.override(variant or found, num_heads, activation), file.path)
  elif variant is not None:
    found = variant_choice.override(variant, num_heads, activation)
    log_line(
      f"{file.path} has no config file; as configured, assuming {found.image.num_heads} image heads, "
      f"{found.text.num_heads} text heads and {found.activation}"
    )
  elif num_heads and all(num_heads) and activation:
    with _prefixing_errors(file.path):
      found = from_shapes(num_heads=num_heads, activation=activation)
      variant_choice.check_grid_is_unambiguous(found, image_size, stride)
  else:
    raise UserError(
      f"{file.path} has no config.json or open_clip_config.json in its folder, and the number of heads and the "
      f"activation cannot be inferred from the tensors; set --config.model.variant (one of {', '.join(VARIANTS)}), or "
      f"--config.model.num_heads=(IMAGE,TEXT) and --config.model.activation=quick_gelu or gelu"
    )
  return Weights(file.path, found, model.tensors, model.prefix, model.ignored, file.shards, revision)


def open_file(path_or_hub_id: PathLike) -> tuple[files.WeightFile, str]:
  """Returns (weight file of any model, commit of its hub repository or ""); a path comes before a packaged name."""
  path, revision = pathlib.Path(path_or_hub_id).expanduser(), ""
  if not path.exists():
    found = packaged.find(str(path_or_hub_id))
    path, revision = (found, "") if found else hub.fetch(str(path_or_hub_id))
  return files.open_weights(path), revision


@contextlib.contextmanager
def _prefixing_errors(path: pathlib.Path) -> Iterator[None]:
  """Puts the file's path before the message of a ValueError."""
  try:
    yield
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error


def _convert(weights: Weights, model: CLIP, position_resize: str) -> dict[str, Any]:
  """Returns the params of `model`, read from the file's tensors; every tensor is used exactly once."""
  wanted = leaves.leaves(jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))["params"])
  source, notes = _adapt(weights, model, position_resize)
  _check(source, jax.tree.leaves(wanted, is_leaf=_is_leaf), weights.path)
  for note in notes:
    log_line(f"{weights.path}: {note}")

  def read(leaf):
    values = leaves.read_leaf(leaf, source)
    parts = zip(leaf.names, values if leaf.is_stacked else [values], strict=True)
    damaged = next((name for name, part in parts if not np.isfinite(part).all()), None)
    if damaged:
      raise UserError(f"{weights.path}: {damaged} contains non-finite values; download or copy the weights again")
    return jnp.asarray(values)

  # Each leaf is moved to the device as soon as it is read, so that the host never holds a second copy of all weights.
  return jax.tree.map(read, wanted, is_leaf=_is_leaf)


def _is_leaf(leaf: Any) -> bool:
  return isinstance(leaf, leaves.Leaf)


def _adapt(weights: Weights, model: CLIP, position_resize: str) -> tuple[dict[str, Tensor], list[str]]:
  """Returns ({name: Tensor} as this model needs them, a log line for each change made)."""
  source, notes = dict(weights.tensors), []
  if weights.ignored:
    some = ", ".join(weights.ignored[:3]) + (", ..." if len(weights.ignored) > 3 else "")
    notes.append(f"ignored {len(weights.ignored)} tensors that are not part of CLIP: {some}")
  if _SCALE not in source and (weights.prefix or weights.ignored):
    # Fine-tuned models such as IRRA's have none, since their temperature is a constant.
    source[_SCALE] = Tensor((), lambda: np.asarray(INITIAL_LOGIT_SCALE, np.float32))
    notes.append(f"no logit scale, using the initial value {INITIAL_LOGIT_SCALE:.4f}")
  if _SCALE in source and source[_SCALE].shape == (1,):
    source[_SCALE] = source[_SCALE].map((), lambda value: value.reshape(()))
    notes.append("reshaped the logit scale from (1,) to a scalar")
  if _POSITIONS in source:
    table, variant = source[_POSITIONS], model.variant
    grid = patch_grid(variant.native_image_size, variant.patch_size)
    new_grid = patch_grid(model.image_size, variant.patch_size, model.stride)
    if table.shape[:1] == (1 + grid[0] * grid[1],) and grid != new_grid:
      sizes = " to ".join(f"{rows}x{columns}" for rows, columns in (grid, new_grid))
      notes.append(f"resized the position embeddings from {sizes} patches ({position_resize})")
      source[_POSITIONS] = table.map(
        (1 + new_grid[0] * new_grid[1], *table.shape[1:]),
        lambda values: resize_positions(np.asarray(values, np.float32), grid, new_grid, position_resize),
      )
  return source, notes


def _check(source: dict[str, Tensor], wanted: Iterable[leaves.Leaf], path: pathlib.Path) -> None:
  """Raises UserError that lists the tensors missing, unexpected or of the wrong shape."""
  problems, unused = [], set(source)
  for leaf in wanted:
    for name in leaf.names:
      unused.discard(name)
      if name not in source:
        problems.append(f"{name} is missing")
      elif source[name].shape != leaf.stored_shape:
        problems.append(f"{name} has shape {source[name].shape}, not {leaf.stored_shape}")
  problems += [f"{name} is not part of this model" for name in sorted(unused)]
  if problems:
    more = f" and {len(problems) - _NUM_SHOWN} more" if len(problems) > _NUM_SHOWN else ""
    raise UserError(f"the weights in {path} do not fit this model: {'; '.join(problems[:_NUM_SHOWN])}{more}")
