"""Your own data: a folder of images and an annotation file, CSV, JSON lines or JSON, as config.custom says."""

import dataclasses
import math
import pathlib
import posixpath
import re
import reprlib

from tireid_jax.data.permutation import permutation
from tireid_jax.data.raw import annotations, cells, schema, tables
from tireid_jax.data.raw.problems import Problem, raise_errors, shown
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.storage import locations

# Splits whose gallery may hold distractors: images without captions.
_GALLERY_SPLITS = ("val", "test")


@dataclasses.dataclass(frozen=True)
class _Row:
  """One row as annotated: image path, identity, captions, and "" for a split, camera or time that it lacks.

  A distractor has no captions, and "" where it has no identity.
  """

  path: str
  person: str
  captions: list
  split: str
  camera: str
  time: str


def is_custom(name):
  """Whether a data set's name is one of custom data: custom, or custom_ and small letters and digits."""
  return re.fullmatch(r"custom(_[a-z0-9]+)*", name) is not None


def layout(name):
  """Returns a Layout with what is known of custom data by its name; config.custom describes the rest."""
  return schema.Layout(
    name=name, config=f"configs/custom.py --config.data.name={name}", folder=name, annotation_files=(), path_key=""
  )


def find_files(settings, raw_dir):
  """Returns the annotation file and the folder of images that config.custom names, both below `raw_dir` or absolute."""
  file, images = (
    pathlib.Path(raw_dir) / locations.local_path(settings[field], f"--config.custom.{field}")
    for field in ("annotations", "images")
  )
  if not file.is_file():
    raise MissingFileError(f"there is no annotation file {file}; set --config.custom.annotations, or --raw")
  if not images.is_dir():
    raise MissingFileError(f"there is no folder of images {images}; set --config.custom.images, or --raw")
  return file, images


def read(settings, raw_dir, *, problems=None):
  """Returns the ImageRecords of custom data, in the file's order; rows of one image are one record.

  Identities that are all whole numbers stay; others are numbered in the order of the alphabet. Where no row has a
  split, identities are divided by `split_seed`. Neither depends on the order of rows, or on which images and captions
  are bad. Where rows have splits, an image of val or test without captions is a distractor, if others of its split have
  some; it needs no identity.

  Args:
    settings: config.custom, as configs/custom.py explains it.
    raw_dir: folder that its paths are relative to.
    problems: list to which whatever is wrong is added, and what cannot be used is left out; without it, that is raised.

  Raises:
    FileNotFoundError: the annotation file or the folder of images is not there, or (without `problems`) images are not.
    ValueError: the file cannot be read, no row of it can be used, or (without `problems`) some cannot; the first three
      are named.
  """
  file, images = find_files(settings, raw_dir)
  found: list[Problem] = []
  entries = tables.read_entries(file, settings["columns"], found)
  if not entries and not found:
    raise UserError(f"{file} lists no image")
  rows = [_row(place, entry, settings, found) for place, entry in entries]
  if not any(rows):
    raise UserError(_nothing_usable(file, entries, settings["columns"], found))
  records = _records([row for row in rows if row], settings, images, found)
  records = annotations.with_files(records, images, found)
  if problems is None:
    raise_errors(found, file, images)
  else:
    problems += found
  return records


def _nothing_usable(file, entries, columns, problems):
  """Returns what to say of a file none of whose rows can be used: the first fault, the keys found, what to set."""
  entry = next((entry for _, entry in entries if isinstance(entry, dict)), {})
  lacking = [field for field in ("image", "id") if columns[field] not in entry]
  if not tables.caption_columns(columns["captions"], tuple(entry)):
    lacking.append("captions")
  keys = f"; the keys are {shown(', '.join(map(str, entry)))}" if entry else ""
  remedy = "; correct the file"
  if entry and lacking:
    fields = ", ".join(f"--config.custom.columns.{field}={columns[field]}" for field in lacking)
    remedy = f"; name yours instead of {fields}"
  elif problems[0].kind == "path leaves the folder":
    remedy = "; make paths relative to the folder that --config.custom.images names"
  return f"{file} has no usable row: {problems[0]}{keys}{remedy}"


def _row(place, entry, settings, problems):
  """Returns the _Row of one entry, or None; what is wrong is added to `problems`."""
  columns = settings["columns"]
  if not isinstance(entry, dict):
    problems.append(Problem("unusable entry", place, f"is {annotations.kind(entry)}, not an object"))
    return None
  path = annotations.path_of(entry, columns["image"], place, problems)
  if not path:
    return None
  captions = _captions(entry, columns["captions"], settings["separator"])
  if all(cells.is_missing(caption) for caption in captions):
    captions = []
  fields = {}
  for field in ("split", "id", "camera", "time"):
    value = entry.get(columns[field])
    fields[field] = _text(value)
    may_lack = field != "id" or (not captions and fields["split"].lower() in _GALLERY_SPLITS)
    if fields[field] is None or not (fields[field] or may_lack):
      given = "" if value is None else f", but {reprlib.repr(value)}"
      problems.append(Problem("unusable entry", path, f"has no text or number under {columns[field]!r}{given}"))
      return None
  return _Row(path, fields["id"], captions, fields["split"], fields["camera"], fields["time"])


def _records(rows, settings, images, problems):
  """Returns the ImageRecords of rows; the rows of one image are one record, with the first one's camera and time."""
  persons = sorted({row.person for row in rows} - {""})
  numbers = _numbers(persons)
  # By lot only if no row has a split: one that lacks it among others is a fault.
  drawn = None if any(row.split for row in rows) else _draw_splits(persons, settings)
  galleries = {row.split.lower() for row in rows if row.captions}.intersection(_GALLERY_SPLITS)
  groups: dict[str, list[_Row]] = {}
  for row in rows:
    group = groups.setdefault(posixpath.normpath(row.path), [])
    if group and (row.person, row.split.lower()) != (group[0].person, group[0].split.lower()):
      detail = f"is {shown(group[0].person) or 'nobody'}, and given again as {shown(row.person) or 'nobody'}"
      if row.person == group[0].person:
        detail = f"has the split {shown(group[0].split)!r}, and given again the split {shown(row.split)!r}"
      problems.append(Problem("conflicting entries", row.path, detail))
    else:
      group.append(row)
  records = []
  for first, *more in groups.values():
    split = drawn[first.person] if drawn else schema.split_of(first.split, first.path, problems)
    given = [*first.captions, *(caption for row in more for caption in row.captions)]
    is_distractor = not given and split in galleries
    captions = () if is_distractor else annotations.usable_captions(given, first.path, problems)
    if split and (captions or is_distractor):
      number = numbers[first.person] if first.person else schema.NO_PERSON
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
    raise UserError(
      f"custom.val_share={shares['val']} and custom.test_share={shares['test']} leave none of the {len(persons)} "
      f"identities to train on; set both from 0, together below 1"
    )
  order = permutation(len(persons), settings["split_seed"])
  splits = ["val"] * sizes["val"] + ["test"] * sizes["test"]
  splits += ["train"] * (len(persons) - len(splits))
  return {persons[place]: split for place, split in zip(order, splits, strict=True)}


def _captions(entry, column, separator):
  """Returns the captions of one entry, from lists and texts under every column of captions; empty texts are none."""
  captions: list = []
  for name in tables.caption_columns(column, tuple(entry)):
    value = entry[name]
    if isinstance(value, str):
      captions += _captions_of(value, separator)
    elif isinstance(value, list):
      captions += value
    elif value is not None:
      captions.append(value)  # to be named as no text
  return captions


def _captions_of(text, separator):
  """Returns the captions of one text, which may be a list that some tool has written as text."""
  if cells.is_list(text):
    try:
      return [caption.strip() for caption in cells.strings_of(text)]
    except ValueError:
      return [text]  # to be named
  parts = text.split(separator) if separator else [text]
  return [part.strip() for part in parts if part.strip()]


def _text(value):
  """Returns a text or number as text, "" for a missing one, and None for what is neither."""
  if isinstance(value, str):
    return cells.identity(value) if annotations.is_unicode(value) else None
  if isinstance(value, bool) or (isinstance(value, float) and math.isinf(value)):
    return None
  return cells.identity(value) if value is None or isinstance(value, (int, float)) else None
