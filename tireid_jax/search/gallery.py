"""The images of a gallery: the files below a folder, or the boxes that a table lists."""

import csv
import errno
import os
import pathlib
from collections.abc import Iterable, Iterator

from tireid_jax.errors import MissingFileError, UserError, naming
from tireid_jax.search.entries import Box, Entry, seconds
from tireid_jax.storage import locations

SUFFIXES = (
  ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".avif", ".heic", ".heif", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".tga",
  ".jp2",
)  # fmt: skip
_COLUMNS = ("path", "x", "y", "w", "h", "camera", "time")


def is_image_name(name: str) -> bool:
  """Returns whether a file's name is that of an image."""
  return name.lower().endswith(SUFFIXES)


def folder_of(path: str | os.PathLike, flag: str = "--gallery") -> pathlib.Path:
  """Returns the absolute path of a folder; raises MissingFileError or UserError if it is none."""
  folder = locations.local_path(path, flag).absolute()
  with naming(folder):
    if not folder.exists():
      raise MissingFileError(f"{flag}={path}: there is no such folder")
    if not folder.is_dir():
      raise UserError(f"{flag}={path} is a file; give the folder of images that it is in")
  return folder


def scan(paths: Iterable[str | os.PathLike], gallery: pathlib.Path) -> Iterator[Entry]:
  """Yields an Entry for each image file among `paths` and below the folders among them, in the order of their names.

  Hidden files and folders are left out. A file that is named itself may have any name.

  Args:
    paths: files and folders.
    gallery: absolute; the paths of files below it are relative to it.

  Raises:
    MissingFileError: a path does not exist.
  """
  for path in paths:
    named = locations.local_path(path, "path").absolute()
    if named.is_dir():
      yield from _scan_folder(os.fspath(named), gallery, set())
    elif named.is_file():
      yield _entry(os.fspath(named), named.stat(), gallery)
    else:
      raise MissingFileError(f"{path}: there is no such file or folder")


def _scan_folder(folder, gallery, seen):
  with naming(folder):
    try:
      identity = os.stat(folder)
      if (identity.st_dev, identity.st_ino) in seen:
        return  # a link back to a folder above it
      found = sorted((item for item in os.scandir(folder) if not item.name.startswith(".")), key=lambda item: item.name)
    except FileNotFoundError:
      if not seen:
        raise
      return  # deleted since the folder above it was read
    seen.add((identity.st_dev, identity.st_ino))
  for item in found:
    with naming(item.path):
      try:
        stat, is_folder, is_file = item.stat(), item.is_dir(), item.is_file()
      except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
          raise
        continue  # a link to nowhere or to itself, or a file that has been deleted since
    if is_folder:
      yield from _scan_folder(item.path, gallery, seen)
    elif is_image_name(item.name) and is_file:
      yield _entry(item.path, stat, gallery)


def _entry(file, stat, gallery):
  path = pathlib.Path(file)
  name = path.relative_to(gallery).as_posix() if path.is_relative_to(gallery) else os.fspath(path)
  return Entry(name, stat.st_size, stat.st_mtime_ns)


def read_boxes(file: str | os.PathLike, gallery: pathlib.Path) -> tuple[list[Entry], list[tuple[str, str]]]:
  """Returns (entries, [(path, reason)] of images that are missing) of a table of boxes.

  The table is CSV with a header: path (relative to the gallery), x, y, w, h (pixels of the upright image; all empty for
  the whole image), and optionally camera and time.

  Raises:
    UserError, MissingFileError: the table cannot be read, or a row of it makes no sense.
  """
  entries, missing = {}, []
  table = locations.local_path(file, "--boxes")
  with naming(file):
    try:
      with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
      raise UserError(f"--boxes={file} is no CSV file in UTF-8 ({error})") from error
  if not rows:
    raise UserError(f"--boxes={file} lists no boxes; its header is {','.join(_COLUMNS)}")
  lacking = [name for name in _COLUMNS[:5] if name not in rows[0]]
  if lacking:
    raise UserError(f"--boxes={file} has no column {', '.join(lacking)}; its header is {','.join(_COLUMNS)}")
  for line, row in enumerate(rows, start=2):
    where = f"--boxes={file}, line {line}"
    box, time = _box(row, where), (row.get("time") or "").strip()
    if time:
      try:
        seconds(time)
      except UserError as error:
        raise UserError(f"{where}: {error}") from error
    path = pathlib.Path(gallery / (row["path"] or ""))
    try:
      stat = path.stat()
    except (OSError, ValueError):  # ValueError: the path contains a null byte
      missing.append((row["path"] or f"(line {line})", "is not there"))
      continue
    entry = _entry(path, stat, gallery)._replace(box=box, camera=(row.get("camera") or "").strip(), time=time)
    entries[entry.key] = entry
  return list(entries.values()), missing


def _box(row, where) -> Box | None:
  values = [(row[name] or "").strip() for name in ("x", "y", "w", "h")]
  if not any(values):
    return None
  try:
    x, y, w, h = (round(float(value)) for value in values)
  except (ValueError, OverflowError) as error:
    raise UserError(f"{where}: the box {','.join(values)} is not x,y,w,h in pixels") from error
  if w < 1 or h < 1 or max(abs(x), abs(y), w, h) >= 2**31:
    raise UserError(f"{where}: the box {','.join(values)} has no pixel; w and h must be at least 1")
  return x, y, w, h
