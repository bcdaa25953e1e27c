"""Opens weight files, sharded or not: safetensors, PyTorch archives and Flax msgpack, recognised by their content."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import flax.serialization
import msgpack
import numpy as np
import safetensors

from tireid_jax.errors import MissingFileError, UserError, naming
from tireid_jax.models.weights import archive, settings
from tireid_jax.models.weights.names import find_clips
from tireid_jax.models.weights.tensor import Tensor

# Of several formats of the same weights in a folder, the first of these is read. An index lists shards.
KINDS = ("index", "safetensors", "pytorch", "flax")
# Of several files of one format in a folder, those with these names are its weights.
USUAL_NAMES = (
  "model.safetensors.index.json", "pytorch_model.bin.index.json", "flax_model.msgpack.index.json",
  "model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin",
  "flax_model.msgpack",
)  # fmt: skip
# Bytes from which the format is recognised.
_START = 4096
_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, the limit of safetensors itself
# Shard names as published, shorter than the limit of file systems.
_SHARD_NAME = re.compile(r"[\w][\w.+=-]{0,200}", re.ASCII)
# Keys of the model in a training checkpoint, which also has the optimiser state, the epoch and so on.
_MODEL_KEYS = ("state_dict", "model", "model_state_dict", "module", "params")


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """The tensors of a weight file, read on demand.

  Attributes:
    path: of the file, or of the index of its shards.
    tensors: by their names in the file.
    is_torchscript: whether it is a TorchScript archive, the format in which OpenAI published CLIP.
    shards: files that `path` is the index of; empty if `path` holds the tensors.
  """

  path: pathlib.Path
  tensors: dict[str, Tensor]
  is_torchscript: bool = False
  shards: tuple[pathlib.Path, ...] = ()


def open_weights(path: str | os.PathLike[str]) -> WeightFile:
  """Opens a weight file, or the one in a folder, without reading its tensors.

  Raises:
    MissingFileError: if there are no weights.
    UserError: if they are damaged, or a folder has several weight files to choose from.
  """
  path = pathlib.Path(path)
  return _open_folder(path) if path.is_dir() else _open(path)


def _open(path: pathlib.Path) -> WeightFile:
  kind = kind_of(path)
  if kind is None:
    raise UserError(
      f"{path} holds no weights: it is not a safetensors file, PyTorch archive or Flax msgpack, but starts with "
      f"{_read_start(path)[:24]!r}"
    )
  return _OPEN[kind](path)


def kind_of(path: pathlib.Path) -> str | None:
  """Returns the format of a file, one of KINDS, recognised by its content, or None."""
  start = _read_start(path)
  if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_SAFETENSORS_HEADER:
    return "safetensors"
  if start[:1] == b"{":
    return "index" if b'"weight_map"' in start else None
  # A bare pickle, which torch wrote before 1.6, and a truncated zip file count as archives, since archive.read raises
  # an error that explains them.
  is_unreadable = start[:1] == b"\x80" or (start[:2] == b"PK" and not zipfile.is_zipfile(path))
  if is_unreadable or archive.is_archive(path):
    return "pytorch"
  return "flax" if _is_flax(start) else None


def _read_start(path: pathlib.Path) -> bytes:
  with naming(path), open(path, "rb") as file:
    return file.read(_START)


def _is_flax(start: bytes) -> bool:
  """Returns whether a file that starts with these bytes is a msgpack map with string keys, as Flax writes it."""
  unpacker = msgpack.Unpacker()
  unpacker.feed(start)
  try:
    return unpacker.read_map_header() > 0 and isinstance(unpacker.unpack(), str)
  except (msgpack.UnpackException, ValueError, UnicodeDecodeError):
    return False


def _open_folder(folder: pathlib.Path) -> WeightFile:
  found: dict[str, list[pathlib.Path]] = {kind: [] for kind in KINDS}
  files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
  for path in files:
    if kind := kind_of(path):
      found[kind].append(path)
  for kind in KINDS:
    candidates = [path for path in found[kind] if path.name in USUAL_NAMES] or found[kind]
    if len(candidates) > 1 and not settings.is_clip_config(folder / "config.json"):
      # timm's folders have an image encoder without a text encoder alongside open_clip's file.
      candidates = [path for path in candidates if path.name.startswith("open_clip")] or candidates
    if len(candidates) == 1:
      return _OPEN[kind](candidates[0])
    if candidates:
      names = ", ".join(path.name for path in candidates)
      raise UserError(f"{folder} holds several weight files ({names}); give the path of one")
  for path in files:
    if path.name in USUAL_NAMES:
      return _open(path)  # raises an error that shows its content, such as the pointer of a clone without git-lfs
  raise MissingFileError(
    f"{folder} holds no weights; give the folder or file of a CLIP model: safetensors, a PyTorch archive "
    f"(pytorch_model.bin, OpenAI's .pt, open_clip's, a training checkpoint) or flax_model.msgpack"
  )


def _open_shards(index: pathlib.Path) -> WeightFile:
  try:
    names = sorted({_check_is_string(name) for name in json.loads(index.read_text())["weight_map"].values()})
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f"{index} is damaged ({error}); download it again") from error
  # A name with a folder could refer to files outside the model's folder, and that of an index could recurse forever.
  wrong = [name for name in names if not _SHARD_NAME.fullmatch(name) or name.endswith(".json")]
  if wrong:
    raise UserError(
      f"{index} lists {wrong[0][:100]!r}, which is not a weight file in its folder; download the model again"
    )
  shards = [index.parent / name for name in names]
  missing = [shard for shard in shards if not shard.is_file()]
  if missing:
    raise MissingFileError(f"{index} lists the shard {missing[0].name!r}, which does not exist; download it")
  tensors: dict[str, Tensor] = {}
  for shard in shards:
    if kind_of(shard) == "index":
      raise UserError(f"{index} lists {shard.name!r}, which is itself an index of shards; download the model again")
    tensors |= _open(shard).tensors
  return WeightFile(index, tensors, shards=tuple(shards))


def _check_is_string(name: Any) -> str:
  if not isinstance(name, str):
    raise UserError("a shard's name is not a string")
  return name


def _open_safetensors(path: pathlib.Path) -> WeightFile:
  def reader(name):
    # The file is reopened for each tensor: the pages of a mapped file count as memory of the process.
    def read():
      with safetensors.safe_open(path, framework="np") as file:
        return file.get_tensor(name)

    return read

  try:
    with safetensors.safe_open(path, framework="np") as file:
      shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
  except safetensors.SafetensorError as error:
    raise UserError(f"{path} is damaged ({error}); download it again") from error
  return WeightFile(path, {name: Tensor(shape, reader(name)) for name, shape in shapes.items()})


def _open_archive(path: pathlib.Path) -> WeightFile:
  content, is_torchscript = archive.read(path)
  content = content if isinstance(content, dict) else {}
  if not is_torchscript and not any(isinstance(value, Tensor) for value in content.values()):
    content = _select_model(content)
  tensors = _flatten(content)
  if not tensors:
    keys = ", ".join(_MODEL_KEYS)
    raise UserError(f"{path} is not a checkpoint of a model: it has no tensors, neither at the top nor in {keys}")
  return WeightFile(path, tensors, is_torchscript)


def _open_flax(path: pathlib.Path) -> WeightFile:
  try:
    tree = flax.serialization.msgpack_restore(path.read_bytes())
    # Only `params`: an optimiser state next to it has tensors of the same names.
    arrays = _flatten(tree["params"] if isinstance(tree.get("params"), dict) else tree, (np.ndarray, np.generic))
  except Exception as error:  # a damaged file raises nearly any error
    raise UserError(f"{path} is damaged ({error}); download it again") from error
  return WeightFile(
    path, {name: Tensor(array.shape, functools.partial(np.asarray, array)) for name, array in arrays.items()}
  )


def _select_model(content: dict[str, Any]) -> dict[str, Any]:
  """Returns the model of a checkpoint, or all of it if it has no known key or another part is a CLIP as well."""
  key = next((key for key in _MODEL_KEYS if isinstance(content.get(key), dict)), None)
  if key is None:
    return content
  # If there is another CLIP, such as a moving average, the user has to choose; the keys are then prefixes of the names.
  others = {other: value for other, value in content.items() if other != key}
  return content if find_clips(_flatten(others)) else content[key]


def _flatten(content: Mapping[str, Any], leaf: Any = Tensor, prefix: str = "") -> dict[str, Any]:
  """Returns {dotted name: value} of the values of type `leaf` in nested dictionaries."""
  found: dict = {}
  for key, value in content.items():
    if isinstance(value, dict):
      found |= _flatten(value, leaf, f"{prefix}{key}.")
    elif isinstance(value, leaf):
      found[f"{prefix}{key}"] = value
  return found


_OPEN = {"index": _open_shards, "safetensors": _open_safetensors, "pytorch": _open_archive, "flax": _open_flax}
