"""Reads parts of uncompressed array records directly from their files.

The array_record reader copies and checks each record several times, which is far slower. An array record file is a
Riegeli file: a sequence of blocks of BLOCK bytes, each of which begins with a header that belongs to no record. Offsets
in the file, headers included, are physical here; offsets in the content, without headers, are logical.
Source: github.com/google/riegeli, doc/riegeli_records_file_format.md.
"""

import mmap
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from tireid_jax.errors import UserError, naming

BLOCK = 2**16
HEADER = 24

# Open files at most. The usual limit of a process is 1,024, while millions of images are in thousands of files.
MAX_OPEN = 256

# A record is recognised by this many bytes at each of a few offsets,
_COMPARED_BYTES = 64
# and starts at most this many bytes after the end of the previous one.
_GAP = 256


class RecordBytes:
  """Reads parts of records, all of `num_bytes`; the MAX_OPEN most recently read files stay open."""

  def __init__(self, files: Iterable[str | os.PathLike], num_bytes: int):
    self._files = [os.fspath(file) for file in files]
    self._num_bytes = num_bytes
    missing = next((file for file in self._files if not os.path.isfile(file)), None)
    if missing:
      raise UserError(f"{missing} does not exist; remove the data set and prepare it again")
    self._descriptors: dict[int, int] = {}  # by index of the file, the most recently read last
    self._lock = threading.Lock()  # no file may be closed while another thread reads it
    self._header = memoryview(bytearray(HEADER))  # buffer for block headers, never used
    weakref.finalize(self, _close, self._descriptors)

  def read_into(self, out: Any, file: int, position: int) -> None:
    """Fills `out`, a flat writable buffer, with `num_bytes` of record content from a file.

    Args:
      out: buffer of `num_bytes`.
      file: index of the file.
      position: physical offset, as returned by `find_tails`.

    Raises:
      UserError: the file ends before that.
    """
    view = memoryview(out)
    room = BLOCK - position % BLOCK
    pieces = [view[:room]]
    for start in range(room, self._num_bytes, BLOCK - HEADER):
      pieces += [self._header, view[start : start + BLOCK - HEADER]]
    with self._lock:
      num_read = os.preadv(self._descriptor(file), pieces, position)
    if num_read != self._num_bytes + HEADER * (len(pieces) // 2):
      raise UserError(f"{self._files[file]} ends early; remove the data set and prepare it again")

  def _descriptor(self, file: int) -> int:
    descriptor = self._descriptors.pop(file, None)
    if descriptor is None:
      with naming(self._files[file]):
        descriptor = os.open(self._files[file], os.O_RDONLY)
    self._descriptors[file] = descriptor
    if len(self._descriptors) > MAX_OPEN:
      os.close(self._descriptors.pop(next(iter(self._descriptors))))
    return descriptor


def find_tails(file: str | os.PathLike, records: Iterable[bytes], num_bytes: int) -> list[int]:
  """Returns the physical offset of the last `num_bytes` of each record.

  Args:
    file: path of an uncompressed array record file.
    records: content of every record, in order.
    num_bytes: size of a tail, at most that of the shortest record.

  Raises:
    RuntimeError: the file does not hold the records uncompressed.
  """
  content = _Content(file)
  positions, end = [], 0
  for record in records:
    start = _find(content, record, end, (0, len(record) - num_bytes, max(0, len(record) - _COMPARED_BYTES)))
    if start is None:
      raise RuntimeError(
        f"{file} does not hold its records uncompressed; the installed array_record writes another format"
      )
    end = start + len(record)
    positions.append(_physical(end - num_bytes))
  return positions


def _find(content: "_Content", record: bytes, first: int, compared: Sequence[int]) -> int | None:
  """Returns the logical offset of a record that starts at most _GAP after `first`, or None.

  The record is recognised by _COMPARED_BYTES at each of its offsets `compared`, the first of which is 0.
  """
  parts = [(offset, record[offset : offset + _COMPARED_BYTES]) for offset in compared]
  window = content[first : first + _GAP + _COMPARED_BYTES]
  start = window.find(parts[0][1])
  while start >= 0:
    found = first + start
    if all(content[found + offset : found + offset + len(part)] == part for offset, part in parts):
      return found
    start = window.find(parts[0][1], start + 1)
  return None


class _Content:
  """The content of a file without block headers; slices by logical offsets span less than a block."""

  def __init__(self, file: str | os.PathLike):
    with open(file, "rb") as opened:
      self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)

  def __getitem__(self, span: slice) -> bytes:
    first, end = _physical(span.start), _physical(span.stop - 1) + 1
    content = self._bytes[first:end]
    if end - first > span.stop - span.start:
      boundary = BLOCK - first % BLOCK
      content = content[:boundary] + content[boundary + HEADER :]
    return content


def _physical(offset: int) -> int:
  """Returns the physical offset of a logical one."""
  return offset + HEADER * (offset // (BLOCK - HEADER) + 1)


def _close(descriptors: dict[int, int]) -> None:
  for descriptor in descriptors.values():
    os.close(descriptor)
