"""Your own data: a folder of images and an annotation file, CSV, JSON lines or JSON, as config.custom says."""

import csv
import dataclasses
import functools
import io
import json
import pathlib
import posixpath
import re

from tireid_jax.data import annotations, prepared, schema
from tireid_jax.data.problems import Problem, raise_errors, shown

_TABLES = (".csv", ".tsv")
_DELIMITERS = ",;\t"


@dataclasses.dataclass(frozen=True)
class _Row:
  """One row as annotated: image path, identity, captions, and "" for a split, camera or time that it lacks."""

  path: str
  person: str
  captions: list
  split: str
  camera: str
  time: str


def find_files(settings, raw_dir):
  """Returns the annotation file and the folder of images that config.custom names, both below `raw_dir` or absolute."""
  file = pathlib.Path(raw_dir) / settings["annotations"]
  images = pathlib.Path(raw_dir) / settings["images"]
  if not file.is_file():
    raise FileNotFoundError(f"there is no annotation file {file}; set --config.custom.annotations, or --raw")
  if not images.is_dir():
    raise FileNotFoundError(f"there is no folder of images {images}; set --config.custom.images, or --raw")
  return file, images


def read(settings, raw_dir, *, problems=None):
  """Returns the ImageRecords of custom data, in the file's order; rows of one image are one record.

  Identities that are all whole numbers stay; others are numbered in the order of the alphabet. Where no row has a
  split, identities are divided by `split_seed`. Neither depends on the order of rows, or on which images and captions
  are bad.

  Args:
    settings: config.custom, as configs/custom.py explains it.
    raw_dir: folder that its paths are relative to.
    problems: list to which whatever is wrong is added, and what cannot be used is left out; without it, that is raised.

  Raises:
    FileNotFoundError: the annotation file or the folder of images is not there, or (without `problems`) images are not.
    ValueError: the file cannot be read, or (without `problems`) rows are unusable; the first three are named.
  """
  file, images = find_files(settings, raw_dir)
  found: list[Problem] = []
  entries = _entries(file, settings["columns"], found)
  if not entries and not found:
    raise ValueError(f"{file} lists no image")
  rows = [_row(place, entry, settings, found) for place, entry in entries]
  records = _records([row for row in rows if row], settings, images, found)
  records = annotations.with_files(records, found)
  if problems is None:
    raise_errors(found, file, images)
  else:
    problems += found
  return records


def _entries(file, columns, problems):
  """Returns [(place to name it by, entry)] of an annotation file of any form."""
  text = annotations.load_text(file)
  opening = text.lstrip()[:1]
  if file.suffix.lower() in _TABLES or opening not in ("[", "{"):
    return _table(text, file, columns, problems)
  if opening == "[":
    return [(f"entry {number}", entry) for number, entry in enumerate(annotations.parse(text, file))]
  entries = []
  # Not by splitlines, which also ends lines at characters that JSON strings may hold.
  for number, line in enumerate(text.split("\n"), start=1):
    try:
      entries += [(f"line {number}", json.loads(line))] if line.strip() else []
    except (ValueError, RecursionError):
      problems.append(Problem("unusable entry", f"line {number}", "is no JSON object; each image takes one line"))
  return entries


def _table(text, file, columns, problems):
  """Returns [(place, {column: text})] of CSV, its delimiter found by the header."""
  first_line = text.split("\n", 1)[0]
  delimiter = max(_DELIMITERS, key=first_line.count)
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
  entries: list = []
  try:
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, file, columns)
    for fields in reader:
      place = f"line {reader.line_num}"
      if len(fields) == len(header):
        entries.append((place, dict(zip(header, fields, strict=True))))
      elif fields:
        detail = f"has {len(fields)} fields, where the header has {len(header)}"
        problems.append(Problem("unusable entry", place, detail))
  except csv.Error as error:
    raise ValueError(f"{file} is no CSV file (line {reader.line_num}: {error}); correct that line") from error
  return entries


def _check_header(header, file, columns):
  """Raises ValueError if a table lacks a column that every image needs, or has one twice."""
  lacking = [field for field in ("image", "id") if columns[field] not in header]
  if not _caption_columns(columns["captions"], tuple(header)):
    lacking.append("captions")
  known = shown(", ".join(header))
  if lacking:
    raise ValueError(
      f"{file} has no column {columns[lacking[0]]!r}, only {known}; set --config.custom.columns.{lacking[0]}"
    )
  if len(set(header)) < len(header):
    raise ValueError(f"{file} has two columns of one name: {known}; rename one")


def _row(place, entry, settings, problems):
  """Returns the _Row of one entry, or None; what is wrong is added to `problems`."""
  columns = settings["columns"]
  if not isinstance(entry, dict):
    problems.append(Problem("unusable entry", place, f"is {annotations.kind(entry)}, not an object"))
    return None
  path = annotations.path_of(entry, columns["image"], place, problems)
  if not path:
    return None
  fields = {}
  for field in ("id", "split", "camera", "time"):
    fields[field] = _text(entry.get(columns[field]))
    if fields[field] is None or (field == "id" and not fields[field]):
      problems.append(Problem("unusable entry", path, f"has no text or number under {columns[field]!r}"))
      return None
  captions = _captions(entry, columns["captions"], settings["separator"])
  return _Row(path, fields["id"], captions, fields["split"], fields["camera"], fields["time"])


def _records(rows, settings, images, problems):
  """Returns the ImageRecords of rows; the rows of one image are one record, with the first one's camera and time."""
  persons = sorted({row.person for row in rows})
  numbers = _numbers(persons)
  # By lot only if no row has a split: one that lacks it among others is a fault.
  drawn = None if any(row.split for row in rows) else _draw_splits(persons, settings)
  groups: dict[str, list[_Row]] = {}
  for row in rows:
    group = groups.setdefault(posixpath.normpath(row.path), [])
    if group and (row.person, row.split.lower()) != (group[0].person, group[0].split.lower()):
      detail = f"is {shown(group[0].person)}, and given again as {shown(row.person)}"
      if row.person == group[0].person:
        detail = f"has the split {shown(group[0].split)!r}, and given again the split {shown(row.split)!r}"
      problems.append(Problem("conflicting entries", row.path, detail))
    else:
      group.append(row)
  records = []
  for first, *more in groups.values():
    split = drawn[first.person] if drawn else schema.split_of(first.split, first.path, problems)
    given = [*first.captions, *(caption for row in more for caption in row.captions)]
    captions = annotations.usable_captions(given, first.path, problems)
    if split and captions:
      number = numbers[first.person]
      person = "" if str(number) == first.person else first.person
      file = images / first.path
      records.append(
        schema.ImageRecord(split, number, first.path, captions, file, first.camera, first.time, person=person)
      )
  return records


def _numbers(persons):
  """Returns {identity as annotated: its number}, for sorted `persons`."""
  # Written as numbers are: "7" and "007" may be two persons.
  if all(re.fullmatch("0|[1-9][0-9]{0,9}", person) and int(person) <= schema.MAX_ID for person in persons):
    return {person: int(person) for person in persons}
  return {person: number for number, person in enumerate(persons)}


def _draw_splits(persons, settings):
  """Returns {identity: split} by lot, for sorted `persons`."""
  shares = {split: settings[f"{split}_share"] for split in ("val", "test")}
  sizes = {split: max(1, round(share * len(persons))) if share > 0 else 0 for split, share in shares.items()}
  if min(shares.values()) < 0 or (persons and sum(sizes.values()) >= len(persons)):
    raise ValueError(
      f"custom.val_share={shares['val']} and custom.test_share={shares['test']} leave none of the {len(persons)} "
      f"identities to train on; set both from 0, together below 1"
    )
  order = prepared.permutation(len(persons), settings["split_seed"])
  splits = ["val"] * sizes["val"] + ["test"] * sizes["test"]
  splits += ["train"] * (len(persons) - len(splits))
  return {persons[place]: split for place, split in zip(order, splits, strict=True)}


def _captions(entry, column, separator):
  """Returns the captions of one entry, from lists and texts under every column of captions; empty texts are none."""
  captions: list = []
  for name in _caption_columns(column, tuple(entry)):
    value = entry[name]
    if isinstance(value, str):
      parts = value.split(separator) if separator else [value]
      captions += [part.strip() for part in parts if part.strip()]
    elif isinstance(value, list):
      captions += value
    elif value is not None:
      captions.append(value)  # to be named as no text
  return captions


@functools.lru_cache(maxsize=1024)
def _caption_columns(column, names):
  """Returns those of some names that hold captions: `column` in the singular or plural, numbered or not."""
  pattern = re.compile(rf"{re.escape(column.removesuffix('s'))}s?(?:_?([0-9]{{1,4}}))?")
  matches = [(int(match[1] or 0), name) for name in names if (match := pattern.fullmatch(name))]
  return [name for _, name in sorted(matches)]


def _text(value):
  """Returns a text or number as text, "" for none, and None for what is neither."""
  if value is None:
    return ""
  if isinstance(value, str):
    return value.strip() if annotations.is_unicode(value) else None
  return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
