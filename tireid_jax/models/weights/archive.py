"""Reads PyTorch zip archives, including TorchScript, without torch and without executing anything in them."""

import functools
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.weights import unpickle
from tireid_jax.models.weights.tensor import Tensor

_ZIP = b"PK\x03\x04"
# The magic number, pickled, at the start of files of torch before 1.6 (MAGIC_NUMBER in torch/serialization.py).
_LEGACY = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
_START = 32  # bytes, which include the legacy magic number
# Maximum elements of a tensor that repeats those of its storage (`expand`). With a stride of 0, a storage of a single
# element could otherwise expand to a tensor of any size.
_MAX_REPEATED = 2**24
_MAX_DIMENSIONS = 64  # of NumPy
# Characters of a damaged file quoted in an error message; its names and sizes may be of any length.
_MAX_REASON = 300


def is_archive(path: pathlib.Path) -> bool:
  """Returns whether the file is a zip archive with a `*/data.pkl`, whatever its name.

  False for a truncated file and for the format of older torch versions, on which `read` raises an error that says so.
  """
  try:
    _list_entries(path)
  except (OSError, ValueError):
    return False
  return True


def read(path: pathlib.Path) -> tuple[Any, bool]:
  """Returns (content of the file, whether it is a TorchScript archive).

  The content consists of dicts, lists, numbers and so on, with a Tensor for each tensor, which is checked to be within
  its storage and read on demand. A TorchScript module is the dict of its attributes: joined by dots, the names of its
  Tensors are those of torch's state_dict() and of tensors that are plain attributes. Objects unrelated to weights
  (arguments, NumPy scalars) are replaced by empty placeholders.

  Raises:
    FileNotFoundError: if there is no such file.
    UserError: if it is not such an archive, is damaged, or contains objects that a weight file may not contain.
  """
  top, entries = _list_entries(path)
  if f"{top}/byteorder" in entries and (order := _read_entry(path, f"{top}/byteorder")) != b"little":
    raise UserError(
      f"{path} was written with byte order {order[:_MAX_REASON]!r}; save it again on a little-endian machine"
    )

  def open_storage(key, num_bytes):
    name = f"{top}/data/{key}"
    if name not in entries:
      raise UserError(f"it refers to the storage {name!r}, which is not in the archive")
    if entries[name].file_size != num_bytes:
      raise UserError(f"storage {name!r} has {entries[name].file_size} bytes, not {num_bytes}")
    return functools.partial(_tensor, path, name, num_bytes)

  data = _read_entry(path, f"{top}/data.pkl")
  try:
    content = unpickle.load(data, open_storage)
  except ValueError as error:
    raise UserError(f"{path} cannot be read as PyTorch weights: {str(error)[:_MAX_REASON]}") from error
  return content, f"{top}/constants.pkl" in entries


def _list_entries(path: pathlib.Path) -> tuple[str, dict[str, zipfile.ZipInfo]]:
  """Returns (name of the archive's top folder, entries by name)."""
  with open(path, "rb") as file:
    start = file.read(_START)
    size = os.fstat(file.fileno()).st_size
  if _LEGACY in start:
    raise UserError(f"{path} has the format of torch before 1.6; load it with a newer torch and torch.save it again")
  if not start.startswith(_ZIP):
    raise UserError(f"{path} is not a PyTorch archive, which is a zip file with a data.pkl")
  entries = _in_zip(path, lambda archive: {entry.filename: entry for entry in archive.infolist()})
  tops = [name.removesuffix("/data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
  if len(tops) != 1:
    raise UserError(f"{path} is a zip file with {len(tops)} folders that contain a data.pkl; a PyTorch archive has one")
  top = tops[0]
  for name, entry in entries.items():
    is_read = name.startswith((f"{top}/data", f"{top}/byteorder"))
    # Uncompressed and no larger than the file, so that a hostile file cannot make us allocate more than its own size.
    if is_read and (entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size):
      raise UserError(
        f"{path} has the entry {name[:_MAX_REASON]!r}, compressed or larger than the file; torch writes neither"
      )
  return top, entries


def _read_entry(path: pathlib.Path, name: str) -> bytes:
  return _in_zip(path, lambda archive: archive.read(name))


def _in_zip(path: pathlib.Path, get: Callable[[zipfile.ZipFile], Any]) -> Any:
  """Returns `get(opened ZipFile)`; turns any error caused by a damaged file into a UserError."""
  with open(path, "rb") as file:  # outside `try`, so that a missing or unreadable file raises its own error
    try:
      with zipfile.ZipFile(file) as archive:
        return get(archive)
    except MemoryError:
      raise
    except Exception as error:
      raise UserError(
        f"{path} is damaged or truncated ({str(error)[:_MAX_REASON]}); copy or download it again"
      ) from error


def _tensor(
  path: pathlib.Path, name: str, num_bytes: int, dtype: np.dtype, offset: Any, size: Any, stride: Any
) -> Tensor:
  """Returns a strided view of a storage as a Tensor, after checking that it is within the storage.

  Args:
    path: of the archive.
    name: of the storage's entry.
    num_bytes: size of the storage.
    dtype: of the elements.
    offset, size, stride: of the view in elements, as the file has them: of any type and value.
  """
  length, size, stride = num_bytes // dtype.itemsize, tuple(size), tuple(stride)
  numbers = [offset, *size, *stride]
  fits = (
    all(type(number) is int and number >= 0 for number in numbers)
    and len(size) == len(stride) <= _MAX_DIMENSIONS
    # Empty dimensions count as 1; otherwise the other dimensions could be of any size.
    and math.prod(max(side, 1) for side in size) <= max(length, _MAX_REPEATED)
    and (0 in size or offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) < length)
  )
  if not fits:
    raise UserError(
      f"storage {name!r} of {length} elements has no room for a tensor of size {size} and stride {stride} at {offset}"
    )
  return Tensor(size, functools.partial(_values, path, name, num_bytes, dtype, offset, size, stride))


def _values(
  path: pathlib.Path,
  name: str,
  num_bytes: int,
  dtype: np.dtype,
  offset: int,
  size: Sequence[int],
  stride: Sequence[int],
) -> np.ndarray:
  """Reads the values of a tensor that `_tensor` has checked."""
  if 0 in size:
    return np.empty(size, dtype)
  data = _read_entry(path, name)
  if len(data) != num_bytes:
    raise UserError(f"{path} has changed since it was opened; run the command again")
  flat = np.frombuffer(data, dtype, count=num_bytes // dtype.itemsize)
  # A dimension of size 1 may have any stride in the file, even one too large for NumPy, since it is never used.
  steps = [0 if side == 1 else step * dtype.itemsize for side, step in zip(size, stride, strict=True)]
  view = np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)
  values = np.asarray(view, order="C")
  # A view of part of a storage is copied, so that the rest of the storage can be freed.
  return values if values.size == flat.size else values.copy()
