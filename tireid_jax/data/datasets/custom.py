"""Your own data: a folder of images and an annotation file (CSV, JSON lines or JSON), described by config.custom."""

import dataclasses
import math
import pathlib
import posixpath
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from tireid_jax.data.permutation import permutation
from tireid_jax.data.raw import annotations, cells, schema, tables
from tireid_jax.data.raw.problems import Problem, raise_errors, shown
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.storage import locations

# Splits whose gallery may hold distractors: images without captions.
_GALLERY_SPLITS = ("val", "test")


@dataclasses.dataclass(frozen=True)
class _Entry:
  """One annotated entry: image path, identity, captions; split, camera and time are "" if missing.

  A distractor has no captions, and may have "" as its identity.
  """

  path: str
  person: str
  captions: list
  split: str
  camera: str
  time: str


def is_custom(name: str) -> bool:
  """Whether a data set's name is one of custom data: custom, or custom_ and small letters and digits."""
  return re.fullmatch(r"custom(_[a-z0-9]+)*", name) is not None


def layout(name: str) -> schema.Layout:
  """Returns the Layout of custom data as far as its name determines it; config.custom describes the rest."""
  return schema.Layout(
    name=name, config=f"configs/custom.py --config.data.name={name}", folder=name, annotation_files=(), path_key=""
  )


def find_files(settings: Mapping[str, Any], raw_dir: str | pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the annotation file and the folder of images that config.custom names, below `raw_dir` or absolute."""
  file, images = (
    pathlib.Path(raw_dir) / locations.local_path(settings[field], f"--config.custom.{field}")
    for field in ("annotations", "images")
  )
  if not file.is_file():
    raise MissingFileError(f"there is no annotation file {file}; set --config.custom.annotations, or --raw")
  if not images.is_dir():
    raise MissingFileError(f"there is no folder of images {images}; set --config.custom.images, or --raw")
  return file, images


def read(
  settings: Mapping[str, Any], raw_dir: str | pathlib.Path, *, problems: list[Problem] | None = None
) -> list[schema.ImageRecord]:
  """Returns the ImageRecords of custom data, in the file's order; entries of the same image are merged.

  Identities are kept if all are whole numbers, and otherwise numbered in alphabetical order. If no entry has a split,
  identities are split at random by `split_seed`. Neither depends on the order of entries, or on unusable images and
  captions. If entries have splits, an image of val or test without captions is a distractor, provided that other images
  of its split have captions; it needs no identity.

  Args:
    settings: config.custom, as explained in configs/custom.py.
    raw_dir: folder that its paths are relative to.
    problems: list to which problems are added; unusable entries and captions are then left out. Without it, they are
      raised.

  Raises:
    FileNotFoundError: the annotation file or the folder of images is missing, or (without `problems`) an image is.
    ValueError: the file cannot be read, has no usable entry, or (without `problems`) has an unusable one; the first
      three are named.
  """
  file, images = find_files(settings, raw_dir)
  found: list[Problem] = []
  entries = tables.read_entries(file, settings["columns"], found)
  if not entries and not found:
    raise UserError(f"{file} lists no image")
  checked = [_checked(place, entry, settings, found) for place, entry in entries]
  if not any(checked):
    raise UserError(_nothing_usable(file, entries, settings["columns"], found))
  records = _records([entry for entry in checked if entry], settings, images, found)
  records = annotations.with_files(records, images, found)
  if problems is None:
    raise_errors(found, file, images)
  else:
    problems += found
  return records


def _nothing_usable(file, entries, columns, problems):
  """Returns the message about a file without a usable entry: the first problem, the keys found, what to set."""
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
  return f"{file} has no usable entry: {problems[0]}{keys}{remedy}"


def _checked(place, entry, settings, problems):
  """Returns the _Entry of one entry, or None if unusable; problems are added to the list."""
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
  return _Entry(path, fields["id"], captions, fields["split"], fields["camera"], fields["time"])


def _records(entries, settings, images, problems):
  """Returns the ImageRecords of entries; those of one image are merged, with the camera and time of the first."""
  persons = sorted({entry.person for entry in entries} - {""})
  numbers = _numbers(persons)
  # Sampled only if no entry has a split: a missing split among others is an error.
  sampled = None if any(entry.split for entry in entries) else _sample_splits(persons, settings)
  galleries = {entry.split.lower() for entry in entries if entry.captions}.intersection(_GALLERY_SPLITS)
  groups: dict[str, list[_Entry]] = {}
  for entry in entries:
    group = groups.setdefault(posixpath.normpath(entry.path), [])
    if group and (entry.person, entry.split.lower()) != (group[0].person, group[0].split.lower()):
      detail = f"is {shown(group[0].person) or 'nobody'}, and given again as {shown(entry.person) or 'nobody'}"
      if entry.person == group[0].person:
        detail = f"has the split {shown(group[0].split)!r}, and given again the split {shown(entry.split)!r}"
      problems.append(Problem("conflicting entries", entry.path, detail))
    else:
      group.append(entry)
  records = []
  for first, *more in groups.values():
    split = sampled[first.person] if sampled else schema.split_of(first.split, first.path, problems)
    given = [*first.captions, *(caption for entry in more for caption in entry.captions)]
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
  # Without leading zeros: "7" and "007" may be two persons.
  if all(re.fullmatch("0|[1-9][0-9]{0,9}", person) and int(person) <= schema.MAX_ID for person in persons):
    return {person: int(person) for person in persons}
  return {person: number for number, person in enumerate(persons)}


def _sample_splits(persons, settings):
  """Returns {identity: split}, sampled with `split_seed`, for sorted `persons`."""
  fractions = {split: settings[f"{split}_share"] for split in ("val", "test")}
  sizes = {
    split: max(1, round(fraction * len(persons))) if fraction > 0 else 0 for split, fraction in fractions.items()
  }
  if min(fractions.values()) < 0 or (persons and sum(sizes.values()) >= len(persons)):
    raise UserError(
      f"custom.val_share={fractions['val']} and custom.test_share={fractions['test']} leave none of the {len(persons)} "
      f"identities to train on; set both from 0, together below 1"
    )
  order = permutation(len(persons), settings["split_seed"])
  splits = ["val"] * sizes["val"] + ["test"] * sizes["test"]
  splits += ["train"] * (len(persons) - len(splits))
  return {persons[index]: split for index, split in zip(order, splits, strict=True)}


def _captions(entry, column, separator):
  """Returns the captions of one entry, from lists and texts in all caption columns, without empty texts."""
  captions: list = []
  for name in tables.caption_columns(column, tuple(entry)):
    value = entry[name]
    if isinstance(value, str):
      captions += _captions_of(value, separator)
    elif isinstance(value, list):
      captions += value
    elif value is not None:
      captions.append(value)  # reported later as no text
  return captions


def _captions_of(text, separator):
  """Returns the captions of one text, which may be a list that a tool has converted to text."""
  if cells.is_list(text):
    try:
      return [caption.strip() for caption in cells.strings_of(text)]
    except ValueError:
      return [text]  # reported later
  parts = text.split(separator) if separator else [text]
  return [part.strip() for part in parts if part.strip()]


def _text(value):
  """Returns a string or number as text, "" if missing, and None for other types."""
  if isinstance(value, str):
    return cells.identity(value) if annotations.is_unicode(value) else None
  if isinstance(value, bool) or (isinstance(value, float) and math.isinf(value)):
    return None
  return cells.identity(value) if value is None or isinstance(value, (int, float)) else None
