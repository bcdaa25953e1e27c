"""Filters on what an index knows of an image: camera, time and folder."""

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tireid_jax.errors import UserError, did_you_mean
from tireid_jax.search.entries import seconds
from tireid_jax.search.segments import Table

_FIELDS = ("camera", "time", "folder")


@dataclasses.dataclass(frozen=True)
class Where:
  """Which images a search may return; an image must satisfy every field that is set.

  Attributes:
    cameras: one of these; empty for any.
    start, end: times, both included; "" for no limit. Images of unknown time are left out if one is set.
    folders: below one of these folders of the gallery; empty for any.
  """

  cameras: tuple[str, ...] = ()
  start: str = ""
  end: str = ""
  folders: tuple[str, ...] = ()

  def __bool__(self) -> bool:
    return bool(self.cameras or self.start or self.end or self.folders)

  def matches(self, table: Table) -> np.ndarray:
    """Returns bool[n] of the entries of a table."""
    found = np.ones(len(table), bool)
    if self.cameras:
      found &= np.isin(
        table.camera_codes, [table.cameras.index(name) for name in self.cameras if name in table.cameras]
      )
    if self.start or self.end:
      low = seconds(self.start) if self.start else -math.inf
      high = seconds(self.end) if self.end else math.inf
      found &= (table.seconds >= low) & (table.seconds <= high)  # NaN, an unknown time, is in no interval
    if self.folders:
      names, codes = table.folders
      is_below = np.zeros(len(names), bool)
      for folder in self.folders:
        # All names that begin with "a/" and no others are from "a/" to before "a0": 0 comes after / in Unicode.
        name = folder.strip("/")
        is_below[bisect.bisect_left(names, f"{name}/") : bisect.bisect_left(names, f"{name}0")] = True
      found &= is_below[codes]
    return found


def parse(filters: Sequence[str]) -> Where:
  """Returns the Where of `--filter` flags: camera=A,B, time=FROM..TO (either may be missing), folder=A,B.

  Raises:
    UserError: a filter is none of these.
  """
  values: dict[str, str] = {}
  for text in filters:
    name, equals, value = text.partition("=")
    if name not in _FIELDS:
      raise UserError(f"--filter={text}: {name!r} is none of {', '.join(_FIELDS)}{did_you_mean(name, _FIELDS)}")
    if not equals or not value:
      raise UserError(f"--filter={text} has no value; give {name}=VALUE")
    if name in values:
      raise UserError(f"--filter={name}=... is given twice; give several values as {name}=A,B")
    values[name] = value
  start, dots, end = values.get("time", "..").partition("..")
  if not dots:
    raise UserError(f"--filter=time={values['time']} is no interval; give time=FROM..TO, where either may be missing")
  for time in filter(None, (start, end)):
    seconds(time)
  return Where(*(tuple(filter(None, values.get("camera", "").split(","))), start, end),
               folders=tuple(filter(None, values.get("folder", "").split(","))))  # fmt: skip
