"""The bytes of uncompressed array records, read straight from where they lie in their files.

The library's own reader copies and checks each record several times, which is slower by far. Array records are a
Riegeli file: it is cut into blocks of BLOCK bytes, each of which begins with a header that is no part of any record.
Source: github.com/google/riegeli, doc/riegeli_records_file_format.md.
"""

import mmap
import os
import threading
import weakref

from tireid_jax.errors import UserError, naming

BLOCK = 2**16
HEADER = 24

# So many files are kept open. A process may often have 1,024 open, while millions of images are in thousands of files.
MAX_OPEN = 256

# A record is looked for among so many bytes after the one before, and compared in so many at each of a few places.
_COMPARED_BYTES = 64
_GAP = 256


class RecordBytes:
  """Pieces of some files, all of `num_bytes`, each inside a record; the MAX_OPEN files last read stay open."""

  def __init__(self, files, num_bytes):
    self._files = [os.fspath(file) for file in files]
    self._num_bytes = num_bytes
    missing = next((file for file in self._files if not os.path.isfile(file)), None)
    if missing:
      raise UserError(f"{missing} is not there; remove the data set and prepare it again")
    self._descriptors: dict[int, int] = {}  # by number of the file, the one last read last
    self._lock = threading.Lock()  # so that none is closed while it is read
    self._header = memoryview(bytearray(HEADER))  # where block headers are read to
    weakref.finalize(self, _close, self._descriptors)

  def read_into(self, out, file, position):
    """Fills `out`, a flat writable buffer, with the piece of file number `file` that begins at `position`."""
    view = memoryview(out)
    room = BLOCK - position % BLOCK
    pieces = [view[:room]]
    for start in range(room, self._num_bytes, BLOCK - HEADER):
      pieces += [self._header, view[start : start + BLOCK - HEADER]]
    with self._lock:
      num_read = os.preadv(self._descriptor(file), pieces, position)
    if num_read != self._num_bytes + HEADER * (len(pieces) // 2):
      raise UserError(f"{self._files[file]} ends early; remove the data set and prepare it again")

  def _descriptor(self, file):
    descriptor = self._descriptors.pop(file, None)
    if descriptor is None:
      with naming(self._files[file]):
        descriptor = os.open(self._files[file], os.O_RDONLY)
    self._descriptors[file] = descriptor
    if len(self._descriptors) > MAX_OPEN:
      os.close(self._descriptors.pop(next(iter(self._descriptors))))
    return descriptor


def find_tails(file, records, num_bytes):
  """Returns where in a file the last `num_bytes` of each of its records begin.

  Args:
    file: path of uncompressed array records.
    records: the bytes of every record, in order.
    num_bytes: of each tail, at most the shortest record.
  """
  content = _Content(file)
  positions, end = [], 0
  for record in records:
    start = _find(content, record, end, (0, len(record) - num_bytes, max(0, len(record) - _COMPARED_BYTES)))
    if start is None:
      raise RuntimeError(f"{file} does not hold its records as they are; the installed array_record writes otherwise")
    end = start + len(record)
    positions.append(_physical(end - num_bytes))
  return positions


def _find(content, record, first, compared):
  """Returns where a record begins, no more than _GAP after `first`, or None; it is compared at some places of it."""
  parts = [(place, record[place : place + _COMPARED_BYTES]) for place in compared]
  window = content[first : first + _GAP + _COMPARED_BYTES]
  start = window.find(parts[0][1])
  while start >= 0:
    found = first + start
    if all(content[found + place : found + place + len(part)] == part for place, part in parts):
      return found
    start = window.find(parts[0][1], start + 1)
  return None


class _Content:
  """Bytes of a file of records, by slices of less than a block, without the headers of its blocks."""

  def __init__(self, file):
    with open(file, "rb") as opened:
      self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)

  def __getitem__(self, places):
    first, end = _physical(places.start), _physical(places.stop - 1) + 1
    content = self._bytes[first:end]
    if end - first > places.stop - places.start:
      boundary = BLOCK - first % BLOCK
      content = content[:boundary] + content[boundary + HEADER :]
    return content


def _physical(place):
  """Returns where in the file the byte lies that is number `place` of its content."""
  return place + HEADER * (place // (BLOCK - HEADER) + 1)


def _close(descriptors):
  for descriptor in descriptors.values():
    os.close(descriptor)
