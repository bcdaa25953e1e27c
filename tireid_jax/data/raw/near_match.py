"""Where an image lies that is not where its annotation says: under another spelling of its path."""

import functools
import os
import pathlib
import unicodedata

# Suffixes that tools exchange for each other.
_JPEG = (".jpg", ".jpeg", ".jpe")


def near_match(folder, path):
  """Returns the path below a folder of the one file that an annotated path may mean, or "".

  Other slashes, another case or Unicode form, spaces around names, .jpeg for .jpg, and leading folders too many, as the
  name of the folder itself, are all seen through.

  Args:
    folder: of images.
    path: annotated, of no file there.
  """
  names = [name for name in path.replace("\\", "/").split("/") if name not in ("", ".", "..")]
  for first in range(len(names)):
    found = _walk(pathlib.Path(folder), names[first:])
    if found:
      return found
  return ""


def _walk(folder, names):
  """Returns the path below a folder whose names are alike, or ""."""
  found: list[str] = []
  for name in names:
    listed = _listing(str(folder.joinpath(*found))).get(_key(name), ())
    if len(listed) != 1:  # of several, it is not known which
      return ""
    found += listed
  return "/".join(found) if (folder.joinpath(*found)).is_file() else ""


@functools.lru_cache(maxsize=4096)
def _listing(folder):
  """Returns {key: names} of what a folder holds; nothing where it is none."""
  listing: dict[str, list[str]] = {}
  try:
    with os.scandir(folder) as entries:
      for entry in entries:
        listing.setdefault(_key(entry.name), []).append(entry.name)
  except OSError:
    pass
  return listing


def _key(name):
  """Returns what names have in common that are taken for each other."""
  stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name).strip().casefold())
  return stem + (".jpg" if suffix in _JPEG else suffix)
