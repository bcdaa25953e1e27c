"""The bytes of uncompressed array records, read straight from where they lie in their files.

The library's own reader copies and checks each record several times, which is slower by far. Array records are a
Riegeli file: it is cut into blocks of BLOCK bytes, each of which begins with a header that is no part of any record.
Source: github.com/google/riegeli, doc/riegeli_records_file_format.md.
"""

import os
import weakref

import numpy as np

BLOCK = 2**16
HEADER = 24

# A record is found by so many of its first bytes, among so many after the record before it.
_FIRST_BYTES = 64
_GAP = 256


class RecordBytes:
  """Pieces of some files, all of `num_bytes`, each inside a record. Files stay open as long as this object lives."""

  def __init__(self, files, num_bytes):
    self._files = [os.fspath(file) for file in files]
    self._num_bytes = num_bytes
    self._descriptors = [os.open(file, os.O_RDONLY) for file in self._files]
    self._header = memoryview(bytearray(HEADER))  # where block headers are read to
    weakref.finalize(self, _close, self._descriptors)

  def read_into(self, out, file, position):
    """Fills `out`, a flat writable buffer, with the piece of file number `file` that begins at `position`."""
    view = memoryview(out)
    room = BLOCK - position % BLOCK
    pieces = [view[:room]]
    for start in range(room, self._num_bytes, BLOCK - HEADER):
      pieces += [self._header, view[start : start + BLOCK - HEADER]]
    num_read = os.preadv(self._descriptors[file], pieces, position)
    if num_read != self._num_bytes + HEADER * (len(pieces) // 2):
      raise ValueError(f"{self._files[file]} ends early; remove the data set and prepare it again")


def find_tails(file, records, num_bytes):
  """Returns where in a file the last `num_bytes` of each of its records begin.

  Args:
    file: path of uncompressed array records.
    records: the bytes of every record, in order.
    num_bytes: of each tail, at most the shortest record.
  """
  blocks = np.fromfile(file, np.uint8)
  blocks = np.pad(blocks, (0, -len(blocks) % BLOCK)).reshape(-1, BLOCK)
  content = blocks[:, HEADER:].tobytes()
  positions, end = [], 0
  for record in records:
    start = content.find(record[:_FIRST_BYTES], end, end + _GAP)
    end = start + len(record)
    if start < 0 or content[start:end] != record:
      raise RuntimeError(f"{file} does not hold its records as they are; the installed array_record writes otherwise")
    tail = end - num_bytes
    positions.append(tail + HEADER * (tail // (BLOCK - HEADER) + 1))
  return positions


def _close(descriptors):
  for descriptor in descriptors:
    os.close(descriptor)
