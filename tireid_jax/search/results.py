"""What a search and an update of an index return."""

import dataclasses
import pathlib
from typing import NamedTuple

from tireid_jax.search.entries import Box


class Result(NamedTuple):
  """An image that a query found.

  Attributes:
    rank: from 1.
    score: cosine similarity; comparable within the results of one query only.
    path: as in the index: relative to the gallery, or absolute.
    file: the image file.
    camera, time: as indexed, "" where unknown.
    box: (x, y, w, h) of a person in a frame; None for the whole image.
  """

  rank: int
  score: float
  path: str
  file: pathlib.Path
  camera: str
  time: str
  box: Box | None


@dataclasses.dataclass
class Report:
  """What an update did: numbers of entries, and (path, reason) of each image that could not be read."""

  num_added: int = 0
  num_changed: int = 0
  num_removed: int = 0
  num_unchanged: int = 0
  unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
