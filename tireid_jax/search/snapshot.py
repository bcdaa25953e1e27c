"""The segments of one manifest, opened together, which a reader keeps while the index changes."""

import pathlib
from typing import NamedTuple

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.search import manifest, segments

# A reader tries again if another process has deleted a segment between its manifest and its files.
_ATTEMPTS = 5


class Snapshot(NamedTuple):
  """A Manifest and, of each of its segments, the memory-mapped vectors and the Table."""

  manifest: manifest.Manifest
  vectors: list[np.ndarray]
  tables: list[segments.Table]


def open_snapshot(folder: pathlib.Path, found: manifest.Manifest) -> Snapshot:
  """Returns the Snapshot of a manifest of an index; if some of its segments are gone, that of its successor.

  Raises:
    UserError: the index is damaged.
  """
  for attempt in range(_ATTEMPTS):
    try:
      opened = [
        segments.read(folder / info.name, info.rows, found.embedding_size, found.dtype) for info in found.segments
      ]
      break
    except FileNotFoundError as error:
      successor = manifest.read(folder)
      if attempt == _ATTEMPTS - 1 or successor is None or successor.segments == found.segments:
        raise UserError(
          f"{folder} is damaged: {error.filename} is missing; delete the index and make it again"
        ) from error
      found = successor
  return Snapshot(found, [vectors for vectors, _ in opened], [table for _, table in opened])
