"""Annotation files, checked entry by entry: the problems of each entry, and its usable captions."""

import collections
import json
import os
import pathlib
import posixpath
import reprlib
import stat
import unicodedata
from typing import Any

from tireid_jax.data.raw import cells
from tireid_jax.data.raw.near_match import near_match
from tireid_jax.data.raw.problems import Problem, shown
from tireid_jax.errors import UserError, naming

_KINDS = {
  dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false",
  type(None): "null",
}  # fmt: skip


def load_text(file: pathlib.Path) -> str:
  """Returns the text of a UTF-8 file, with or without a byte-order mark."""
  with naming(file):
    content = file.read_bytes()
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = content[: error.start].count(b"\n") + 1
    raise UserError(f"{file} is no UTF-8 text (line {line}: {error.reason}); save it as UTF-8") from error


def load_list(file: pathlib.Path) -> list:
  """Returns the list in a JSON file; raises ValueError if it is empty or something else."""
  entries = parse(load_text(file), file)
  if not isinstance(entries, list) or not entries:
    raise UserError(f"{file} must hold a JSON list of images, not {kind(entries)}")
  return entries


def parse(text: str, source: pathlib.Path) -> Any:
  """Returns the value of JSON text; errors name its `source`."""
  try:
    return json.loads(text)
  except RecursionError as error:
    raise UserError(f"{source} is no JSON of images: its lists nest too deep") from error
  except ValueError as error:
    raise UserError(f"{source} is no JSON file ({error}); correct it, or get it again") from error


def kind(value: Any) -> str:
  """Returns the type of a JSON value in words, as "a string"."""
  return "an empty list" if value == [] else _KINDS[type(value)]


def path_of(entry: dict, key: str, place: str, problems: list[Problem]) -> str:
  """Returns an entry's image path if it is relative and inside the folder of images; otherwise "", with a Problem.

  Args:
    entry: dict of an image.
    key: of the path in it.
    place: names the entry in messages, as "entry 3".
    problems: list to which Problems are added.
  """
  path = entry.get(key)
  if not isinstance(path, str) or not path:
    problems.append(Problem("unusable entry", place, f"has no image path under {key!r}"))
  elif "\0" in path or not is_unicode(path):
    problems.append(Problem("unusable entry", place, f"has an image path that is no text: {reprlib.repr(path)}"))
  elif path.startswith("/"):
    problems.append(Problem("path leaves the folder", path, "is absolute; paths are relative to the folder of images"))
  elif ".." in path.split("/"):
    problems.append(Problem("path leaves the folder", path, "has .., which may lead out of the folder of images"))
  else:
    return path
  return ""


def usable_captions(captions: Any, path: str, problems: list[Problem]) -> tuple[str, ...]:
  """Returns the usable captions of an image; Problems of the others are added to `problems`."""
  if isinstance(captions, str):
    problems.append(Problem("captions are a string", path, "has no list of captions, but a string"))
    return ()
  if not isinstance(captions, list):
    problems.append(Problem("unusable entry", path, f"has no list of captions, but {reprlib.repr(captions)}"))
    return ()
  if not captions:
    problems.append(Problem("no caption", path, "has no caption"))
  usable = []
  for caption in captions:
    if not isinstance(caption, str) or not is_unicode(caption):
      detail = f"has a caption that is no text: {reprlib.repr(caption)}"
      problems.append(Problem("caption is no text", path, detail))
    elif not caption.strip():
      problems.append(Problem("empty caption", path, "has a caption that is empty"))
    elif cells.is_missing(caption):
      problems.append(Problem("empty caption", path, f"has a caption that is {caption.strip()!r}, as tools write none"))
    elif cells.is_list(caption):
      detail = f"has a caption that is a list written as text: {reprlib.repr(caption)}"
      problems.append(Problem("caption is a list", path, detail))
    else:
      usable.append(caption)
  return tuple(usable)


def with_files(records: list, images: pathlib.Path, problems: list[Problem]) -> list:
  """Returns the ImageRecords whose image file exists and belongs to them alone.

  A file listed twice with the same identity and split is kept twice; with another identity or split, only the first is
  kept. Names that differ only by case are allowed if they are different files; if they are the same file, its identity
  is ambiguous, and none is kept.

  Args:
    records: ImageRecords.
    images: folder that their paths are relative to.
    problems: list to which Problems are added.
  """
  first: dict = {}  # record by path
  spellings: dict = collections.defaultdict(list)  # of a path in lower case
  kept = []
  for record in records:
    path = posixpath.normpath(record.file_path)
    if path in first:
      other = first[path]
      if (other.person_id, other.split) == (record.person_id, record.split):
        problems.append(Problem("repeated image", record.file_path, "is given again"))
      else:
        detail = f"is {other.split} {other.person_id}, and given again as {record.split} {record.person_id}"
        problems.append(Problem("conflicting entries", record.file_path, detail))
        continue
    else:
      fault = _file_fault(record, images)
      if fault:
        problems.append(Problem("missing image", record.file_path, fault))
        continue
      first[path] = record
      spellings[path.casefold()].append(path)
    kept.append((path, record))
  lost = _one_file(first, spellings, problems)
  return [record for path, record in kept if path not in lost]


def is_unicode(text: str) -> bool:
  """Whether UTF-8 can encode a string: JSON strings may contain half of a surrogate pair."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def _file_fault(record, images):
  """Returns why a record's path is no file, to be read after the path, or "" if it is one."""
  file = record.image_file
  try:
    mode = os.stat(file).st_mode
  except OSError:
    if os.path.islink(file):
      return "is a link to nothing"
    return f"is not there below {images}{_near(record.file_path, images)}"
  return "" if stat.S_ISREG(mode) else "is no file"


def _near(path, images):
  """Returns which file a path may mean, to be read after its problem, or ""."""
  near = near_match(images, path)
  form = ", in another Unicode form" if unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path) else ""
  return f"; {shown(near)} is{form}: correct the annotation" if near else ""


def _one_file(first, spellings, problems):
  """Returns the set of paths that are the same file as another spelling of the path."""
  lost = set()
  for paths in spellings.values():
    for path in paths[1:]:
      if os.path.samefile(first[path].image_file, first[paths[0]].image_file):
        problems.append(Problem("one file under two names", path, f"is the same file as {paths[0]}"))
        lost |= {path, paths[0]}
      else:
        problems.append(Problem("names that collide by case", path, f"differs by case alone from {paths[0]}"))
  return lost
