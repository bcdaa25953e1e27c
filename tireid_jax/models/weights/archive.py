"""PyTorch's own files (zip archives, TorchScript among them), read without torch and without trusting them."""

import functools
import math
import os
import zipfile

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.weights import unpickle
from tireid_jax.models.weights.tensor import Tensor

_ZIP = b"PK\x03\x04"
# The number that torch before 1.6 starts its files with, pickled (torch/serialization.py, MAGIC_NUMBER).
_LEGACY = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
_START = 32  # bytes; the legacy number stands within
# Elements that a tensor may show by repeating those of its storage (`expand`); without a bound, a stride of 0 makes any
# size out of one element.
_MAX_REPEATED = 2**24
_MAX_DIMENSIONS = 64  # NumPy's
# Letters of what a damaged file says of itself in a message; its names and sizes may be of any length.
_MAX_REASON = 300


def is_archive(path):
  """Returns whether the file is a zip archive with a `*/data.pkl`, whatever it is called.

  A file of older torch or one cut short is none; `read` says so.
  """
  try:
    _list_entries(path)
  except (OSError, ValueError):
    return False
  return True


def read(path):
  """Returns (what the file holds, whether it is a TorchScript archive).

  What it holds is dicts, lists, numbers and so on, with a Tensor for each tensor, checked to lie within its storage and
  read when asked for. TorchScript modules are dicts of their attributes: joined by dots, the names of its Tensors are
  those of torch's state_dict() and of tensors that are plain attributes. What has no part in weights (arguments, NumPy
  scalars) is an object that holds nothing.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no such archive, is damaged, or holds what reading weights does not allow.
  """
  top, entries = _list_entries(path)
  if f"{top}/byteorder" in entries and (order := _read_entry(path, f"{top}/byteorder")) != b"little":
    raise UserError(
      f"{path} was written with byte order {order[:_MAX_REASON]!r}; save it again on a little-endian machine"
    )

  def open_storage(key, num_bytes):
    name = f"{top}/data/{key}"
    if name not in entries:
      raise UserError(f"it names the storage {name!r}, which it does not hold")
    if entries[name].file_size != num_bytes:
      raise UserError(f"storage {name!r} holds {entries[name].file_size} bytes, not {num_bytes}")
    return functools.partial(_tensor, path, name, num_bytes)

  data = _read_entry(path, f"{top}/data.pkl")
  try:
    content = unpickle.load(data, open_storage)
  except ValueError as error:
    raise UserError(f"{path} cannot be read as PyTorch weights: {str(error)[:_MAX_REASON]}") from error
  return content, f"{top}/constants.pkl" in entries


def _list_entries(path):
  """Returns (name of the archive's top folder, {name: zipfile.ZipInfo} of what it holds)."""
  with open(path, "rb") as file:
    start = file.read(_START)
    size = os.fstat(file.fileno()).st_size
  if _LEGACY in start:
    raise UserError(f"{path} has the format of torch before 1.6; load it with a newer torch and torch.save it again")
  if not start.startswith(_ZIP):
    raise UserError(f"{path} is no PyTorch archive, which is a zip file with a data.pkl")
  entries = _in_zip(path, lambda archive: {entry.filename: entry for entry in archive.infolist()})
  tops = [name.removesuffix("/data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
  if len(tops) != 1:
    raise UserError(f"{path} is a zip file with {len(tops)} folders that hold a data.pkl; a PyTorch archive has one")
  top = tops[0]
  for name, entry in entries.items():
    is_read = name.startswith((f"{top}/data", f"{top}/byteorder"))
    # Uncompressed and within the file, so that no claim of the file's makes us allocate more than its own size.
    if is_read and (entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size):
      raise UserError(f"{path} holds {name[:_MAX_REASON]!r} compressed, or larger than the file; torch writes neither")
  return top, entries


def _read_entry(path, name):
  return _in_zip(path, lambda archive: archive.read(name))


def _in_zip(path, get):
  """Returns `get(the opened ZipFile)`; whatever a damaged one raises is a ValueError of one line."""
  with open(path, "rb") as file:  # Outside `try`: that there is no such file, or no right to read it, is said as it is.
    try:
      with zipfile.ZipFile(file) as archive:
        return get(archive)
    except MemoryError:
      raise
    except Exception as error:
      raise UserError(
        f"{path} is damaged or cut short ({str(error)[:_MAX_REASON]}); copy or download it again"
      ) from error


def _tensor(path, name, num_bytes, dtype, offset, size, stride):
  """Returns the Tensor of a strided view of a storage, checked to lie within it.

  Args:
    path: of the archive.
    name: of the storage's entry.
    num_bytes: that the storage holds.
    dtype: of the elements.
    offset: elements before the first.
    size: of each dimension.
    stride: elements from one to the next, of each dimension.
  """
  length, size, stride = num_bytes // dtype.itemsize, tuple(size), tuple(stride)
  numbers = [offset, *size, *stride]
  fits = (
    all(type(number) is int and number >= 0 for number in numbers)
    and len(size) == len(stride) <= _MAX_DIMENSIONS
    # Empty dimensions count as 1, or the others could be of any size.
    and math.prod(max(side, 1) for side in size) <= max(length, _MAX_REPEATED)
    and (0 in size or offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) < length)
  )
  if not fits:
    raise UserError(
      f"storage {name!r} of {length} elements does not hold a tensor of size {size} and stride {stride} at {offset}"
    )
  return Tensor(size, functools.partial(_values, path, name, num_bytes, dtype, offset, size, stride))


def _values(path, name, num_bytes, dtype, offset, size, stride):
  """Returns the values of a tensor that `_tensor` has checked."""
  if 0 in size:
    return np.empty(size, dtype)
  data = _read_entry(path, name)
  if len(data) != num_bytes:
    raise UserError(f"{path} has changed since it was opened; start again")
  flat = np.frombuffer(data, dtype, count=num_bytes // dtype.itemsize)
  # The stride of a dimension of 1 is never walked, so a file may have any there, even one that NumPy cannot hold.
  steps = [0 if side == 1 else step * dtype.itemsize for side, step in zip(size, stride, strict=True)]
  view = np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)
  values = np.asarray(view, order="C")
  # A part of a storage is copied, so that the rest can be freed.
  return values if values.size == flat.size else values.copy()
