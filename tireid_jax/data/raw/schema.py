"""A raw data set as it is downloaded: its Layout, and the reader of its annotations, which all layouts share."""

import collections
import dataclasses
import pathlib
import reprlib
import typing
from collections.abc import Callable, Iterable

from tireid_jax.config import former
from tireid_jax.data.raw import annotations
from tireid_jax.data.raw.problems import Problem, raise_errors
from tireid_jax.errors import MissingFileError, UserError

# Version of the prepared format. Increase it when records or index change, so that old data sets are not read.
VERSION = "1.2.0"

SPLITS = ("train", "val", "test")

# Identities are stored as int32.
MAX_ID = 2**31 - 1
# Identity of a distractor that shows an unknown person and matches no query.
NO_PERSON = -1


class Counts(typing.NamedTuple):
  """Sizes of a split; `images` includes its distractors, and `ids` those that have one."""

  ids: int
  images: int
  captions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """One raw data set: a folder holding an annotation file, with one entry per image, and a folder of images.

  Attributes:
    name: name of the prepared data set.
    config: what prepares it, as given to --config.
    folder: name of the raw folder.
    annotation_files: accepted names of the annotation file, the published one first.
    first_id: smallest identity in the published file.
    published: sizes of each split as published; empty where they are not fixed.
    path_key: key of an entry's image path, relative to the folder of images.
    image_folder: name of the folder of images, next to the annotation file.
    source: the data set that the images were taken from; "" for one of its own. Training on one data set and testing on
      another of the same source is no test across domains.
    read_entries: takes the path of the annotation file and returns a list with one dict per image: `path_key` (str),
      "id" (int from 0), "split" (one of SPLITS, in any case) and "captions" (list of str). It need not check the
      values: each entry is checked afterwards. By default, the file is a JSON list of such objects.
  """

  name: str
  config: str
  folder: str
  annotation_files: tuple[str, ...]
  first_id: int = 0
  published: dict[str, Counts] = dataclasses.field(default_factory=dict)
  path_key: str = "file_path"
  image_folder: str = "imgs"
  source: str = ""
  read_entries: Callable[[pathlib.Path], list] = annotations.load_list


@dataclasses.dataclass(frozen=True)
class ImageRecord:
  """An annotated image.

  Attributes:
    split: one of SPLITS.
    person_id: identity, 0 to MAX_ID; NO_PERSON for a distractor that has none.
    file_path: path of the image below the folder of images, as annotated.
    captions: each caption as annotated; none for a distractor in the gallery of val or test.
    image_file: the file itself.
    camera, time: where and when it was taken, as annotated; "" if unknown.
    person: the identity as annotated, if that is not the number `person_id`; otherwise "".
  """

  split: str
  person_id: int
  file_path: str
  captions: tuple[str, ...]
  image_file: pathlib.Path
  camera: str = ""
  time: str = ""
  person: str = ""

  @property
  def is_distractor(self) -> bool:
    """Whether the image has no caption, and so is only in the gallery."""
    return not self.captions


def size_name(image_size: tuple[int, int]) -> str:
  """Returns the folder name of an image size (h, w) in pixels, as "384x128"."""
  if len(image_size) != 2 or not all(int(side) == side and side > 0 for side in image_size):
    raise UserError(f"config.data.image_size is (height, width) in whole pixels, got {tuple(image_size)}")
  height, width = image_size
  return f"{height}x{width}"


def find_annotations(layout: Layout, raw_dir: str | pathlib.Path) -> pathlib.Path:
  """Returns the annotation file below `raw_dir`, the layout's folder or its parent; FileNotFoundError if missing."""
  raw_dir = pathlib.Path(raw_dir)
  for root in (raw_dir / layout.folder, raw_dir):
    for name in layout.annotation_files:
      if (root / name).is_file():
        return root / name
  names = " or ".join(layout.annotation_files)
  state = f"{raw_dir} holds neither {layout.folder}/ with {names} nor that file itself"
  if not raw_dir.is_dir():
    state = f"{raw_dir} is no folder"
  state += former.hint(layout.name, raw_dir)
  raise MissingFileError(f"{layout.name}: {state}; give --raw the folder that holds {layout.folder}/")


def read_annotations(
  layout: Layout, raw_dir: str | pathlib.Path, *, problems: list[Problem] | None = None
) -> list[ImageRecord]:
  """Returns the ImageRecords of a raw data set, in the annotation file's order.

  Image paths may contain spaces and any characters. Links to files inside or outside of the folder are followed.

  Args:
    layout: the Layout to read.
    raw_dir: the layout's folder, or its parent.
    problems: list to which problems are added; unusable captions, and entries without a usable one, are then left out.
      Without it, they are raised.

  Raises:
    FileNotFoundError: the annotation file or (without `problems`) an image is missing.
    ValueError: the file does not have the layout, or (without `problems`) entries are unusable; the first three are
      named.
  """
  file = find_annotations(layout, raw_dir)
  found: list[Problem] = []
  images = file.parent / layout.image_folder
  entries = _entries(layout, file)
  records = [_record(entry, f"entry {number}", layout.path_key, images, found) for number, entry in enumerate(entries)]
  records = annotations.with_files([record for record in records if record], images, found)
  if problems is None:
    raise_errors(found, file, images)
  else:
    problems += found
  return records


def count(records: Iterable[ImageRecord]) -> dict[str, Counts]:
  """Returns {split: Counts} of ImageRecords, in the order of SPLITS."""
  groups = collections.defaultdict(list)
  for record in records:
    groups[record.split].append(record)
  return {
    split: Counts(
      ids=len({record.person_id for record in groups[split]} - {NO_PERSON}),
      images=len(groups[split]),
      captions=sum(len(record.captions) for record in groups[split]),
    )
    for split in SPLITS
    if split in groups
  }


def count_distractors(records: Iterable[ImageRecord]) -> dict[str, int]:
  """Returns {split: number of distractors} of ImageRecords, without splits that have none."""
  return dict(collections.Counter(record.split for record in records if record.is_distractor))


def split_of(value: object, place: str, problems: list[Problem]) -> str:
  """Returns the one of SPLITS that an annotation names, ignoring case; if none, "", and a Problem is added."""
  if isinstance(value, str) and value.lower() in SPLITS:
    return value.lower()
  problems.append(
    Problem("unknown split", place, f"has the split {reprlib.repr(value)}, not one of {', '.join(SPLITS)}")
  )
  return ""


def _entries(layout, file):
  """Returns the entries of an annotation file; errors of the data set's own reader become a UserError."""
  try:
    entries = layout.read_entries(file)
  except UserError:
    raise
  except (LookupError, TypeError, AttributeError, ValueError) as error:
    reason = f"{type(error).__name__}: {error}"
    raise UserError(
      f"{file} does not have the layout of {layout.folder} ({reason}); get it again, or correct the "
      f"data set's read_entries"
    ) from error
  if not entries:
    raise UserError(f"{file} lists no image")
  return entries


def _record(entry, place, path_key, images, problems):
  """Returns the ImageRecord of one entry, or None if unusable; problems are added to the list."""
  if not isinstance(entry, dict):
    problems.append(Problem("unusable entry", place, f"is {annotations.kind(entry)}, not an object"))
    return None
  path, person_id = annotations.path_of(entry, path_key, place, problems), entry.get("id")
  if not path:
    return None
  if not isinstance(person_id, int) or isinstance(person_id, bool) or not 0 <= person_id <= MAX_ID:
    problems.append(Problem("unusable entry", path, f"has the id {reprlib.repr(person_id)}, not a whole number from 0"))
    return None
  split = split_of(entry.get("split"), path, problems)
  captions = annotations.usable_captions(entry.get("captions"), path, problems)
  if not split or not captions:
    return None
  return ImageRecord(split, person_id, path, captions, images / path)
