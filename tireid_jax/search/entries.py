"""What an index knows of each of its images."""

import datetime
import math
import pathlib
from typing import NamedTuple

from tireid_jax.errors import UserError

Box = tuple[int, int, int, int]


class Entry(NamedTuple):
  """An image, or a box in one.

  Attributes:
    path: relative to the gallery, or absolute for a file outside of it.
    size: of the file, bytes.
    mtime_ns: when the file was modified, nanoseconds.
    box: (x, y, w, h) in pixels of the upright image; None for the whole image.
    camera, time: as given; "" where unknown. A time is a number or an ISO 8601 date and time.
  """

  path: str
  size: int
  mtime_ns: int
  box: Box | None = None
  camera: str = ""
  time: str = ""

  @property
  def key(self) -> str:
    """What identifies the entry in an index: its path and box."""
    return key_of(self.path, self.box)

  def file(self, gallery: pathlib.Path) -> pathlib.Path:
    """Returns the path of the image file."""
    return gallery / self.path


def key_of(path: str, box: Box | None) -> str:
  """Returns `Entry.key`. The separator cannot be part of a path."""
  return path if box is None else f"{path}\0{','.join(map(str, box))}"


def seconds(time: str) -> float:
  """Returns a time as a number: itself, or for ISO 8601 the seconds since 1970, in UTC unless it names a zone.

  Raises:
    UserError: it is neither.
  """
  try:
    number = float(time)
  except ValueError:
    pass
  else:
    if math.isfinite(number):
      return number
    raise UserError(f"the time {time!r} is not finite; leave it empty if it is unknown")
  try:
    found = datetime.datetime.fromisoformat(time)
  except ValueError as error:
    raise UserError(
      f"the time {time!r} is neither a number nor an ISO 8601 date and time, as 2026-05-01T08:30"
    ) from error
  return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
