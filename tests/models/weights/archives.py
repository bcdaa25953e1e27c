"""Writes valid and malicious PyTorch archives, without torch."""

import dataclasses
import pathlib
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest

from tireid_jax.models.weights import archive

# Made by torch.
ARCHIVES = pathlib.Path(__file__).parents[2] / "testdata" / "archives"
SIX = np.arange(6, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Name:
  """A reference to a Python object, such as Name("os", "system")."""

  module: str
  name: str


@dataclasses.dataclass(frozen=True)
class Call:
  """The result of calling `function` with `args`."""

  function: Any
  args: tuple


@dataclasses.dataclass(frozen=True)
class Built:
  """An object after its attributes are set: `state` is a dict, or (None, dict) to set them one by one."""

  object: Any
  state: Any


@dataclasses.dataclass(frozen=True)
class Storage:
  """A reference to `data/<key>`."""

  key: str
  numel: int
  kind: str = "FloatStorage"


def tensor(storage, size, stride, offset=0, metadata=()):
  """Returns a tensor in the form in which torch pickles it, a call; `metadata` is () or (dict,)."""
  hooks = Call(Name("collections", "OrderedDict"), ())
  return Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, False, hooks, *metadata))


def module(name, **attributes):
  """Returns an object of the TorchScript class `__torch__.<name>`."""
  return Built(Call(Name("__torch__", name), ()), attributes)


def pickled(value):
  """Returns the pickle of a value made of plain values and the classes above."""
  return b"\x80\x02" + _operations(value) + b"."


def _operations(value):
  if isinstance(value, Name):
    return f"c{value.module}\n{value.name}\n".encode()
  if isinstance(value, Call):
    return _operations(value.function) + _operations(value.args) + b"R"
  if isinstance(value, Built):
    return _operations(value.object) + _operations(value.state) + b"b"
  if isinstance(value, Storage):
    return _operations(("storage", Name("torch", value.kind), value.key, "cpu", value.numel)) + b"Q"
  if isinstance(value, dict):
    return b"}(" + b"".join(_operations(part) for item in value.items() for part in item) + b"u"
  if isinstance(value, (list, tuple)):
    parts = b"".join(map(_operations, value))
    return b"](" + parts + b"e" if isinstance(value, list) else b"(" + parts + b"t"
  return pickle.dumps(value, 2)[2:-1]


def write_archive(path, value, storages=None, *, top="archive", files=None):
  """Writes an archive in the layout of torch and returns its path.

  Args:
    path: of the file.
    value: to be passed to `pickled`, or the bytes of a pickle.
    storages: {key: np.ndarray}.
    top: name of the folder of all entries.
    files: {name below `top`: bytes} of further entries.
  """
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(f"{top}/data.pkl", value if isinstance(value, bytes) else pickled(value))
    for key, values in (storages or {}).items():
      archive.writestr(f"{top}/data/{key}", values.tobytes())
    for name, data in (files or {"byteorder": b"little"}).items():
      archive.writestr(f"{top}/{name}", data)
  return path


def named(value, kind, prefix=""):
  """Returns {name: leaf} for leaves of class `kind`, named as in a state_dict(), with indices for list items."""
  if isinstance(value, kind):
    return {prefix.removesuffix("."): value}
  items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
  return {name: leaf for key, item in items for name, leaf in named(item, kind, f"{prefix}{key}.").items()}


def six(size, stride, offset=0, **storage):
  """Returns a view of a storage of the values 0, 1, ..., 5, in pickled form."""
  return tensor(Storage("0", 6, **storage), size, stride, offset)


def error_message(path):
  """Returns the error message of reading this file, after checking that it is one line with the file's path."""
  with pytest.raises(ValueError) as error:
    archive.read(path)
  assert str(path) in str(error.value)
  assert "\n" not in str(error.value)
  return str(error.value)
