"""A raw data set as it is downloaded: its Layout, and the reader of its annotations, which all layouts share."""

import collections
import dataclasses
import pathlib
import reprlib
import typing
from collections.abc import Callable

from tireid_jax.config import former
from tireid_jax.data.raw import annotations
from tireid_jax.data.raw.problems import Problem, raise_errors
from tireid_jax.errors import MissingFileError, UserError

# Version of the prepared form. Raise it when records or index change, so that sets of the old form are not read.
VERSION = "1.2.0"

SPLITS = ("train", "val", "test")

# Identities are stored as int32.
MAX_ID = 2**31 - 1
# In place of the identity of an image that shows nobody known: a distractor that matches no query.
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
    image_folder: name of the folder of images, beside the annotation file.
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
    captions: each caption as annotated; none for a distractor, which the gallery of val or test holds besides.
    image_file: the file itself.
    camera, time: where and when it was taken, as annotated; "" where that is not known.
    person: the identity as annotated, where that is no number to be `person_id` itself; otherwise "".
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
  def is_distractor(self):
    """Whether the image is in the gallery alone, without a caption to be a query."""
    return not self.captions


def size_name(image_size):
  """Returns the name of an image size in pixels, as in folders: "384x128" (h x w)."""
  if len(image_size) != 2 or not all(int(side) == side and side > 0 for side in image_size):
    raise UserError(f"config.data.image_size is (height, width) in whole pixels, got {tuple(image_size)}")
  height, width = image_size
  return f"{height}x{width}"


def find_annotations(layout, raw_dir):
  """Returns the annotation file below `raw_dir`, which is the layout's folder or the folder that holds it."""
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


def read_annotations(layout, raw_dir, *, problems=None):
  """Returns the ImageRecords of a raw data set, in the annotation file's order.

  Image paths may hold spaces and any letters. A link is followed, inside or out of the folder, if it leads to a file.

  Args:
    layout: the Layout to read.
    raw_dir: the layout's folder, or the folder that holds it.
    problems: list to which whatever is wrong is added; what cannot be used is left out then: a caption, or the entry
      if it has no other. Without it, that is raised.

  Raises:
    FileNotFoundError: the annotation file is not there, or (without `problems`) images are not.
    ValueError: the file is no JSON list, or (without `problems`) entries are unusable; the first three are named.
  """
  file = find_annotations(layout, raw_dir)
  found: list[Problem] = []
  images = file.parent / layout.image_folder
  entries = _entries(layout, file)
  records = [_record(entry, f"entry {row}", layout.path_key, images, found) for row, entry in enumerate(entries)]
  records = annotations.with_files([record for record in records if record], images, found)
  if problems is None:
    raise_errors(found, file, images)
  else:
    problems += found
  return records


def count(records):
  """Returns {split: Counts} of some ImageRecords, in the order of SPLITS."""
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


def count_distractors(records):
  """Returns {split: number of distractors} of some ImageRecords, without splits that have none."""
  return dict(collections.Counter(record.split for record in records if record.is_distractor))


def split_of(value, place, problems):
  """Returns which of SPLITS an annotation means, in any case; "" and a Problem where it is none."""
  if isinstance(value, str) and value.lower() in SPLITS:
    return value.lower()
  problems.append(
    Problem("unknown split", place, f"has the split {reprlib.repr(value)}, not one of {', '.join(SPLITS)}")
  )
  return ""


def _entries(layout, file):
  """Returns the entries of an annotation file; what a data set's own reader stumbles over is an error of the file."""
  try:
    entries = layout.read_entries(file)
  except UserError:
    raise
  except (LookupError, TypeError, AttributeError, ValueError) as error:
    reason = f"{type(error).__name__}: {error}"
    raise UserError(f"{file} does not have the layout of {layout.folder} ({reason}); get it again") from error
  if not entries:
    raise UserError(f"{file} lists no image")
  return entries


def _record(entry, place, path_key, images, problems):
  """Returns the ImageRecord of one entry of the annotation list, or None; what is wrong is added to `problems`."""
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
