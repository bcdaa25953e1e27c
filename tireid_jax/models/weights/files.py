"""Weight files, recognised by what is in them: safetensors, PyTorch archives, Flax msgpack, whole or in shards."""

import dataclasses
import functools
import json
import pathlib
import re
import zipfile

import flax.serialization
import msgpack
import numpy as np
import safetensors

from tireid_jax.errors import MissingFileError, UserError, naming
from tireid_jax.models.weights import archive, settings
from tireid_jax.models.weights.names import find_clips
from tireid_jax.models.weights.tensor import Tensor

# Where a folder has several formats of the same weights: the first of these is read. An index names shards.
KINDS = ("index", "safetensors", "pytorch", "flax")
# Where it has several files of a kind, these are its weights.
USUAL_NAMES = (
  "model.safetensors.index.json", "pytorch_model.bin.index.json", "flax_model.msgpack.index.json",
  "model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin",
  "flax_model.msgpack",
)  # fmt: skip
# What a file of weights shows of itself within so many bytes.
_START = 4096
_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, as in safetensors itself
# As published; a file system allows no longer one.
_SHARD_NAME = re.compile(r"[\w][\w.+=-]{0,200}", re.ASCII)
# Dictionaries of a checkpoint that hold the model, beside optimiser and epoch.
_MODEL_KEYS = ("state_dict", "model", "model_state_dict", "module", "params")


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """What a file of weights holds.

  Attributes:
    path: of the file, or of the index of its shards.
    tensors: {name in the file: Tensor}.
    is_torchscript: whether it is a TorchScript archive, the form in which OpenAI published CLIP.
    shards: that the tensors are read from; none where that is `path` itself.
  """

  path: pathlib.Path
  tensors: dict[str, Tensor]
  is_torchscript: bool = False
  shards: tuple[pathlib.Path, ...] = ()


def open_weights(path):
  """Returns the WeightFile of a file, or of the one in a folder; tensors are read later, one at a time.

  Raises:
    FileNotFoundError: if there are no weights.
    ValueError: if they are damaged, or it is not clear which file is meant.
  """
  path = pathlib.Path(path)
  return _open_one_of(path) if path.is_dir() else _open(path)


def _open(path):
  kind = kind_of(path)
  if kind is None:
    raise UserError(
      f"{path} holds no weights: it is no safetensors file, PyTorch archive or Flax msgpack, but starts with "
      f"{_read_start(path)[:24]!r}"
    )
  return _OPEN[kind](path)


def kind_of(path):
  """Returns one of KINDS by what is in the file, or None."""
  start = _read_start(path)
  if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_SAFETENSORS_HEADER:
    return "safetensors"
  if start[:1] == b"{":
    return "index" if b'"weight_map"' in start else None
  # A pickle alone, as torch wrote before 1.6, and a zip file cut short are for archive.read to refuse by name.
  is_broken = start[:1] == b"\x80" or (start[:2] == b"PK" and not zipfile.is_zipfile(path))
  if is_broken or archive.is_archive(path):
    return "pytorch"
  return "flax" if _is_flax(start) else None


def _read_start(path):
  with naming(path), open(path, "rb") as file:
    return file.read(_START)


def _is_flax(start):
  """Tells a msgpack map of names, as Flax writes it, by its first bytes."""
  unpacker = msgpack.Unpacker()
  unpacker.feed(start)
  try:
    return unpacker.read_map_header() > 0 and isinstance(unpacker.unpack(), str)
  except (msgpack.UnpackException, ValueError, UnicodeDecodeError):
    return False


def _open_one_of(folder):
  found: dict[str, list] = {kind: [] for kind in KINDS}
  files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
  for path in files:
    if kind := kind_of(path):
      found[kind].append(path)
  for kind in KINDS:
    candidates = [path for path in found[kind] if path.name in USUAL_NAMES] or found[kind]
    if len(candidates) > 1 and not settings.is_clip_config(folder / "config.json"):
      # As in timm's folders, whose other file is an image encoder alone.
      candidates = [path for path in candidates if path.name.startswith("open_clip")] or candidates
    if len(candidates) == 1:
      return _OPEN[kind](candidates[0])
    if candidates:
      raise UserError(f"{folder} holds several weights ({', '.join(p.name for p in candidates)}); give the path of one")
  for path in files:
    if path.name in USUAL_NAMES:
      return _open(path)  # Raises what it is instead, such as the pointer of a git clone without git-lfs.
  raise MissingFileError(
    f"{folder} holds no weights; give the folder or file of a CLIP model: safetensors, a PyTorch archive "
    f"(pytorch_model.bin, OpenAI's .pt, open_clip's, a trainer's checkpoint) or flax_model.msgpack"
  )


def _open_shards(index):
  try:
    names = sorted({_text(name) for name in json.loads(index.read_text())["weight_map"].values()})
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f"{index} is damaged ({error}); download it again") from error
  # A name with a folder, or that of an index, would read other files than the model's, or the same one without end.
  wrong = [name for name in names if not _SHARD_NAME.fullmatch(name) or name.endswith(".json")]
  if wrong:
    raise UserError(
      f"{index} names {wrong[0][:100]!r}, which is no file of weights beside it; download the model again"
    )
  shards = [index.parent / name for name in names]
  missing = [shard for shard in shards if not shard.is_file()]
  if missing:
    raise MissingFileError(f"{index} names the shard {missing[0].name!r}, which is not there; download it")
  tensors: dict[str, Tensor] = {}
  for shard in shards:
    if kind_of(shard) == "index":
      raise UserError(f"{index} names {shard.name!r}, which is an index of shards itself; download the model again")
    tensors |= _open(shard).tensors
  return WeightFile(index, tensors, shards=tuple(shards))


def _text(name):
  if not isinstance(name, str):
    raise UserError("a shard's name is no text")
  return name


def _open_safetensors(path):
  def reader(name):
    # Opened anew each time: pages of a file that stays mapped count as the process's memory.
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


def _open_archive(path):
  content, is_torchscript = archive.read(path)
  content = content if isinstance(content, dict) else {}
  if not is_torchscript and not any(isinstance(value, Tensor) for value in content.values()):
    content = _model_of(content)
  tensors = _flatten(content)
  if not tensors:
    raise UserError(f"{path} is no checkpoint of a model: it holds no tensors, nor any in {', '.join(_MODEL_KEYS)}")
  return WeightFile(path, tensors, is_torchscript)


def _open_flax(path):
  try:
    tree = flax.serialization.msgpack_restore(path.read_bytes())
    # Not beside `params`: an optimiser's state there has the same names.
    arrays = _flatten(tree["params"] if isinstance(tree.get("params"), dict) else tree, (np.ndarray, np.generic))
  except Exception as error:  # A damaged one raises nearly anything.
    raise UserError(f"{path} is damaged ({error}); download it again") from error
  return WeightFile(
    path, {name: Tensor(array.shape, functools.partial(np.asarray, array)) for name, array in arrays.items()}
  )


def _model_of(content):
  """Returns the dictionary below the first of _MODEL_KEYS, or all of a checkpoint, where names tell which is meant."""
  key = next((key for key in _MODEL_KEYS if isinstance(content.get(key), dict)), None)
  if key is None:
    return content
  # Another CLIP, as a moving average of this one, is not passed over in silence: the keys are prefixes of names then.
  others = {other: value for other, value in content.items() if other != key}
  return content if find_clips(_flatten(others)) else content[key]


def _flatten(content, leaf=Tensor, prefix=""):
  """Returns {dotted name: leaf} of nested dictionaries; other values are left out."""
  found: dict = {}
  for key, value in content.items():
    if isinstance(value, dict):
      found |= _flatten(value, leaf, f"{prefix}{key}.")
    elif isinstance(value, leaf):
      found[f"{prefix}{key}"] = value
  return found


_OPEN = {"index": _open_shards, "safetensors": _open_safetensors, "pytorch": _open_archive, "flax": _open_flax}
