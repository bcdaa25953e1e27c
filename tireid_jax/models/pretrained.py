"""Published CLIP weights, in whatever file they come -> this model's variables."""

import contextlib
import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.clip import CLIP, INITIAL_LOGIT_SCALE, init_variables
from tireid_jax.models.variants import VARIANTS, Variant, differences, patch_grid
from tireid_jax.models.weights import files, hub, leaves, names, settings
from tireid_jax.models.weights.positions import METHODS, resize_positions
from tireid_jax.models.weights.tensor import Tensor
from tireid_jax.terminal.progress import log_line

# Problems that a message names; the others are counted.
_NUM_SHOWN = 10

_SCALE, _POSITIONS = "logit_scale", "vision_model.embeddings.position_embedding.weight"


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights of a CLIP in a file: what they are of, and where they are read from.

  Attributes:
    path: of the file.
    variant: sizes and numerics.
    tensors: {Hugging Face's name: Tensor}.
    prefix: what a trainer put before their names in the file, "" if nothing.
    beside: names of tensors that are not the model's, as a trainer's heads.
    shards: that the tensors are read from; none where that is `path` itself.
    revision: commit of the hub's repository, "" where they are not from the hub or its cache does not tell.
  """

  path: pathlib.Path
  variant: Variant
  tensors: dict[str, Tensor]
  prefix: str
  beside: list[str]
  shards: tuple[pathlib.Path, ...] = ()
  revision: str = ""


def load(
  path_or_hub_id,
  image_size=(384, 128),
  *,
  variant=None,
  num_heads=None,
  activation=None,
  stride=0,
  position_resize="bilinear",
  prefix="",
):
  """Returns (CLIP module without prompts, variables {"params": f32 arrays, "prompts": {}}) of published weights.

  Args:
    path_or_hub_id: file or folder in any form that `weights.files` reads, or a Hugging Face hub's ORGANISATION/NAME.
    image_size: (h, w) that the model shall take, pixels; the position table is resized to its grid.
    variant: of what the weights must be, a Variant or a name in VARIANTS; None for whatever they are. A bare state
      dict, with no config file beside it, has to have this or the next two.
    num_heads: (image, text), of a bare state dict.
    activation: "quick_gelu" or "gelu", of a bare state dict.
    stride: pixels from one patch to the next; 0 for the patch size, less for patches that overlap.
    position_resize: "bilinear", as IRRA, or "bicubic" with antialiasing, as open_clip.
    prefix: of the tensors' names, of a file that holds several CLIPs, as a model and its moving average.

  Raises:
    FileNotFoundError: if there are no weights.
    ValueError: if a tensor is missing, left over or misshapen, or if the file does not tell what model it is of.
  """
  weights = open_weights(
    path_or_hub_id, image_size, variant=variant, num_heads=num_heads, activation=activation, stride=stride,
    prefix=prefix,
  )  # fmt: skip
  return read(weights, image_size, stride=stride, position_resize=position_resize)


def read(weights, image_size, *, stride=0, position_resize="bilinear"):
  """Returns what `load` does, of Weights that are open."""
  if position_resize not in METHODS:
    raise UserError(f"position_resize is {position_resize!r}; it must be one of {', '.join(METHODS)}")
  model = CLIP(weights.variant, tuple(image_size), stride=stride)
  return model, {"params": _convert(weights, model, position_resize), "prompts": {}}


def open_weights(
  path_or_hub_id, image_size=(384, 128), *, variant=None, num_heads=None, activation=None, stride=0, prefix=""
) -> Weights:
  """Returns the Weights of a file, with no tensor read yet; arguments and errors as `load`."""
  if isinstance(variant, str):
    if variant not in VARIANTS:
      raise UserError(f"there is no variant {variant!r}; it must be one of {', '.join(VARIANTS)}")
    variant = VARIANTS[variant]
  file, revision = open_file(path_or_hub_id)
  with _naming(file.path):
    model = names.to_hugging_face(file.tensors, prefix)
  from_shapes = functools.partial(settings.from_shapes, model.tensors, image_size=image_size)
  if file.is_torchscript:
    with _naming(file.path):
      found = _openai_variant(from_shapes)
  else:
    found = settings.beside(file.path, model.family)
  if found is not None:
    _check_variant(found, _asked(variant or found, num_heads, activation), file.path)
  elif variant is not None:
    found = _asked(variant, num_heads, activation)
    heads = f"{found.image.num_heads} and {found.text.num_heads} heads"
    log_line(
      f"{file.path} has no config file beside it; taken for a model of {heads}, {found.activation}, as configured"
    )
  elif num_heads and all(num_heads) and activation:
    with _naming(file.path):
      found = from_shapes(num_heads=num_heads, activation=activation)
      _check_table_is_clear(found, image_size, stride)
  else:
    raise UserError(
      f"{file.path} has no config.json or open_clip_config.json beside it, and its tensors do not tell heads and "
      f"activation; name the model as --config.model.variant (one of {', '.join(VARIANTS)}), or give "
      f"--config.model.num_heads=(IMAGE,TEXT) and --config.model.activation=quick_gelu or gelu"
    )
  return Weights(file.path, found, model.tensors, model.prefix, model.beside, file.shards, revision)


def open_file(path_or_hub_id):
  """Returns (files.WeightFile, commit of the hub's repository or ""), whatever model it is of."""
  path, revision = pathlib.Path(path_or_hub_id).expanduser(), ""
  if not path.exists():
    path, revision = hub.fetch(str(path_or_hub_id))
  return files.open_weights(path), revision


@contextlib.contextmanager
def _naming(path):
  """Puts the file's path before the message of a ValueError."""
  try:
    yield
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error


def _openai_variant(from_shapes):
  """Returns the Variant of a TorchScript archive, the form in which OpenAI alone published."""
  found = from_shapes(num_heads=(1, 1), activation="quick_gelu")
  image, text = (dataclasses.replace(tower, num_heads=tower.width // 64) for tower in (found.image, found.text))
  return dataclasses.replace(found, image=image, text=text)


def _check_table_is_clear(variant, image_size, stride):
  """Raises ValueError if a position table could be a square one or, as well, that of the images asked for."""
  square, wanted = (
    patch_grid(variant.native_image_size, variant.patch_size),
    patch_grid(image_size, variant.patch_size, stride),
  )
  if square != wanted and math.prod(square) == math.prod(wanted):
    either = " or ".join(f"{rows}x{columns}" for rows, columns in (square, wanted))
    raise UserError(f"its position table may be of {either} patches; name the model as --config.model.variant")


def _asked(variant, num_heads, activation):
  """Returns a Variant with other heads and activation, where those are given."""
  image, text = (
    dataclasses.replace(tower, num_heads=heads or tower.num_heads)
    for tower, heads in zip((variant.image, variant.text), num_heads or (0, 0), strict=True)
  )
  return dataclasses.replace(variant, image=image, text=text, activation=activation or variant.activation)


def _check_variant(found, wanted, path):
  """Raises ValueError if weights are of another model than the one asked for; the image size they were made for is no
  difference, since their position table is resized."""
  found = dataclasses.replace(found, native_image_size=wanted.native_image_size)
  wrong = differences(found, wanted)
  if wrong:
    name = next((name for name, variant in VARIANTS.items() if not differences(found, variant)), "from_weights")
    told = "; ".join(f"{field} is {there} there, {here} asked for" for field, (there, here) in wrong.items())
    raise UserError(
      f"the weights in {path} are of another model: {told}; set --config.model.variant={name} and neither "
      f"model.num_heads nor model.activation"
    )


def _convert(weights, model, position_resize):
  """Returns the params of `model`, each leaf made of the file's tensors; every tensor is used once."""
  wanted = leaves.leaves(jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))["params"])
  source, notes = _adapted(weights, model, position_resize)
  _check(source, jax.tree.leaves(wanted, is_leaf=_is_leaf), weights.path)
  for note in notes:
    log_line(f"{weights.path}: {note}")

  def read(leaf):
    values = leaves.read_leaf(leaf, source)
    parts = zip(leaf.names, values if leaf.is_stacked else [values], strict=True)
    damaged = next((name for name, part in parts if not np.isfinite(part).all()), None)
    if damaged:
      raise UserError(f"{weights.path}: {damaged} holds values that are not finite; get the weights again")
    return jnp.asarray(values)

  # Each leaf goes to the device as soon as it is made, so that the host never holds all of them besides.
  return jax.tree.map(read, wanted, is_leaf=_is_leaf)


def _is_leaf(leaf):
  return isinstance(leaf, leaves.Leaf)


def _adapted(weights, model, position_resize):
  """Returns ({name: Tensor} for this model, a line for each tensor that had to be adapted)."""
  source, notes = dict(weights.tensors), []
  if weights.beside:
    some = ", ".join(weights.beside[:3]) + (", ..." if len(weights.beside) > 3 else "")
    notes.append(f"{len(weights.beside)} tensors beside CLIP's are left out: {some}")
  if _SCALE not in source and (weights.prefix or weights.beside):
    # Trainers such as IRRA have none: their temperature is a constant.
    source[_SCALE] = Tensor((), lambda: np.asarray(INITIAL_LOGIT_SCALE, np.float32))
    notes.append(f"it has no logit scale; {INITIAL_LOGIT_SCALE:.4f} is put there")
  if _SCALE in source and source[_SCALE].shape == (1,):
    source[_SCALE] = source[_SCALE].map((), lambda value: value.reshape(()))
    notes.append("its logit scale has the shape (1,) and is made a scalar")
  if _POSITIONS in source:
    table, variant = source[_POSITIONS], model.variant
    grid = patch_grid(variant.native_image_size, variant.patch_size)
    new_grid = patch_grid(model.image_size, variant.patch_size, model.stride)
    if table.shape[:1] == (1 + grid[0] * grid[1],) and grid != new_grid:
      sizes = " to ".join(f"{rows}x{columns}" for rows, columns in (grid, new_grid))
      notes.append(f"its position table is resized from {sizes} patches ({position_resize})")
      source[_POSITIONS] = table.map(
        (1 + new_grid[0] * new_grid[1], *table.shape[1:]),
        lambda values: resize_positions(np.asarray(values, np.float32), grid, new_grid, position_resize),
      )
  return source, notes


def _check(source, wanted, path):
  """Raises ValueError that lists every tensor missing, left over or misshapen."""
  problems, left = [], set(source)
  for leaf in wanted:
    for name in leaf.names:
      left.discard(name)
      if name not in source:
        problems.append(f"{name} is missing")
      elif source[name].shape != leaf.stored_shape:
        problems.append(f"{name} has shape {source[name].shape}, not {leaf.stored_shape}")
  problems += [f"{name} is not part of this model" for name in sorted(left)]
  if problems:
    more = f" and {len(problems) - _NUM_SHOWN} more" if len(problems) > _NUM_SHOWN else ""
    raise UserError(f"the weights in {path} do not fit: {'; '.join(problems[:_NUM_SHOWN])}{more}")
