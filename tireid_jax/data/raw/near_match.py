"""Finds the file that an annotated path probably means: one under another spelling of the path."""

import functools
import os
import pathlib
import unicodedata

# Suffixes of JPEG files, used interchangeably.
_JPEG = (".jpg", ".jpeg", ".jpe")


def near_match(folder: str | pathlib.Path, path: str) -> str:
  """Returns the path below a folder of the only file that an annotated path may mean, or "".

  Differences in slashes, case, Unicode normalisation and spaces around names are ignored, and so are .jpeg for .jpg and
  additional leading folders, such as the name of the folder itself.

  Args:
    folder: the folder of images.
    path: annotated path, which does not exist.
  """
  names = [name for name in path.replace("\\", "/").split("/") if name not in ("", ".", "..")]
  for first in range(len(names)):
    found = _walk(pathlib.Path(folder), names[first:])
    if found:
      return found
  return ""


def _walk(folder, names):
  """Returns the path below a folder whose names match, or ""."""
  found: list[str] = []
  for name in names:
    listed = _listing(str(folder.joinpath(*found))).get(_key(name), ())
    if len(listed) != 1:  # ambiguous, or none
      return ""
    found += listed
  return "/".join(found) if (folder.joinpath(*found)).is_file() else ""


@functools.lru_cache(maxsize=4096)
def _listing(folder):
  """Returns {key: names} of a folder's entries; empty if it is no folder."""
  listing: dict[str, list[str]] = {}
  try:
    with os.scandir(folder) as entries:
      for entry in entries:
        listing.setdefault(_key(entry.name), []).append(entry.name)
  except OSError:
    pass
  return listing


def _key(name):
  """Returns a key that is equal for names which match each other."""
  stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name).strip().casefold())
  return stem + (".jpg" if suffix in _JPEG else suffix)
