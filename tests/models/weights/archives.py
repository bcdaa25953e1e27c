"""PyTorch archives put together by hand, honest and hostile ones, without torch."""

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
  """A Python object that the pickle names, such as Name("os", "system")."""

  module: str
  name: str


@dataclasses.dataclass(frozen=True)
class Call:
  """What calling `function` with `args` gives."""

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
  """Returns the call by which torch stores a tensor; `metadata` is () or (dict,)."""
  hooks = Call(Name("collections", "OrderedDict"), ())
  return Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, False, hooks, *metadata))


def module(name, **attributes):
  """Returns an object of the TorchScript class `__torch__.<name>`."""
  return Built(Call(Name("__torch__", name), ()), attributes)


def pickled(value):
  """Returns the pickle of plain values and the classes above, bytes."""
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
  """Writes an archive as torch lays it out and returns its path.

  Args:
    path: of the file.
    value: as `pickled` takes it, or the bytes of a pickle.
    storages: {key: np.ndarray}.
    top: name of the folder that everything is in.
    files: {name below `top`: bytes} besides.
  """
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(f"{top}/data.pkl", value if isinstance(value, bytes) else pickled(value))
    for key, values in (storages or {}).items():
      archive.writestr(f"{top}/data/{key}", values.tobytes())
    for name, data in (files or {"byteorder": b"little"}).items():
      archive.writestr(f"{top}/{name}", data)
  return path


def named(value, kind, prefix=""):
  """Returns {name: leaf} of the leaves of that class, named as state_dict() does, list items by their number."""
  if isinstance(value, kind):
    return {prefix.removesuffix("."): value}
  items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
  return {name: leaf for key, item in items for name, leaf in named(item, kind, f"{prefix}{key}.").items()}


def six(size, stride, offset=0, **storage):
  """Returns the stored form of a view of 0, 1, ..., 5."""
  return tensor(Storage("0", 6, **storage), size, stride, offset)


def refusal(path):
  """Returns the one line that reading this file gives, after checking that it names the file."""
  with pytest.raises(ValueError) as error:
    archive.read(path)
  assert str(path) in str(error.value)
  assert "\n" not in str(error.value)
  return str(error.value)
