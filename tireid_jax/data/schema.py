"""The raw data sets as they are downloaded: where their files lie, and a reader of their annotations."""

import collections
import dataclasses
import json
import pathlib
import typing

from tireid_jax.data.problems import Problem

# Version of the prepared form. Raise it when records or index change, so that sets of the old form are not read.
VERSION = "1.2.0"

SPLITS = ("train", "val", "test")

# Identities are stored as int32.
MAX_ID = 2**31 - 1


class Counts(typing.NamedTuple):
  """Sizes of a split."""

  ids: int
  images: int
  captions: int


@dataclasses.dataclass(frozen=True)
class Layout:
  """One raw data set: a folder holding a flat JSON list with one entry per image, and `imgs/`.

  Attributes:
    name: name of the prepared data set.
    config: what prepares it, as given to --config.
    folder: name of the raw folder.
    annotation_files: accepted names of the annotation file, the published one first.
    path_key: key of an entry's image path, relative to `imgs/`.
    first_id: smallest identity in the published file.
    published: sizes of each split as published; empty where the data is generated.
  """

  name: str
  config: str
  folder: str
  annotation_files: tuple[str, ...]
  path_key: str
  first_id: int
  published: dict[str, Counts]


@dataclasses.dataclass(frozen=True)
class ImageRecord:
  """An annotated image: its split, identity, path below `imgs/`, captions, and the file itself."""

  split: str
  person_id: int
  file_path: str
  captions: tuple[str, ...]
  image_file: pathlib.Path


def _cuhk_like(name, config, folder, published):
  return Layout(name, config, folder, ("reid_raw.json",), path_key="file_path", first_id=1, published=published)


LAYOUTS = {
  layout.name: layout
  for layout in (
    _cuhk_like(
      "cuhk_pedes",
      "configs/cuhk.py",
      "CUHK-PEDES",
      {
        "train": Counts(11_003, 34_054, 68_126),
        "val": Counts(1_000, 3_078, 6_158),
        "test": Counts(1_000, 3_074, 6_156),
      },
    ),
    Layout(
      name="icfg_pedes",
      config="configs/icfg.py",
      folder="ICFG-PEDES",
      annotation_files=("ICFG-PEDES.json", "ICFG_PEDES.json"),
      path_key="file_path",
      first_id=0,
      published={"train": Counts(3_102, 34_674, 34_674), "test": Counts(1_000, 19_848, 19_848)},
    ),
    Layout(
      name="rstp_reid",
      config="configs/rstp.py",
      folder="RSTPReid",
      annotation_files=("data_captions.json",),
      path_key="img_path",
      first_id=0,
      published={
        "train": Counts(3_701, 18_505, 37_010),
        "val": Counts(200, 1_000, 2_000),
        "test": Counts(200, 1_000, 2_000),
      },
    ),
    _cuhk_like("synth_pedes", "configs/synth.py", "SynthPEDES", {}),
    _cuhk_like("synth_generic", "configs/synth.py --config.data.name=synth_generic", "SynthGeneric", {}),
  )
}


def layout_of(name):
  """Returns the Layout of a data set's name."""
  if name not in LAYOUTS:
    raise ValueError(f"unknown data set {name!r}; config.data.name is one of {', '.join(LAYOUTS)}")
  return LAYOUTS[name]


def size_name(image_size):
  """Returns the name of an image size in pixels, as in folders: "384x128" (h x w)."""
  if len(image_size) != 2 or not all(int(side) == side and side > 0 for side in image_size):
    raise ValueError(f"config.data.image_size is (height, width) in whole pixels, got {tuple(image_size)}")
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
  raise FileNotFoundError(f"{layout.name}: {state}; give --raw the folder that holds {layout.folder}/")


def read_annotations(layout, raw_dir, *, problems=None):
  """Returns every ImageRecord of a raw data set, in the annotation file's order.

  Args:
    layout: the Layout to read.
    raw_dir: the layout's folder, or the folder that holds it.
    problems: list to which unusable entries are added, which are left out then. Without it they are raised.

  Raises:
    FileNotFoundError: the annotation file or (without `problems`) an image is not there.
    ValueError: the file is no JSON list, or (without `problems`) entries are unusable; the first three are named.
  """
  annotations = find_annotations(layout, raw_dir)
  try:
    entries = json.loads(annotations.read_text(encoding="utf-8"))
  except ValueError as error:  # both of json and of utf-8
    raise ValueError(f"{annotations} is no JSON file ({error}); download it again") from error
  if not isinstance(entries, list) or not entries:
    raise ValueError(f"{annotations} must hold a JSON list of images, not {_kind(entries)}")
  faults = [_problem(entry, row, layout) for row, entry in enumerate(entries)]
  found = [fault for fault in faults if fault]
  if problems is not None:
    problems += [Problem("unusable entry", f"entry {row}", fault) for row, fault in enumerate(faults) if fault]
    entries = [entry for entry, fault in zip(entries, faults, strict=True) if not fault]
  elif found:
    raise ValueError(_summary(annotations, "unusable entries", found))
  images = annotations.parent / "imgs"
  records = [
    ImageRecord(
      split=entry["split"].lower(),
      person_id=entry["id"],
      file_path=entry[layout.path_key],
      captions=tuple(entry["captions"]),
      image_file=images / entry[layout.path_key],
    )
    for entry in entries
  ]
  missing = [str(record.image_file) for record in records if not record.image_file.exists()]
  if missing and problems is None:
    raise FileNotFoundError(_summary(annotations, "images that are not there", missing))
  return records


def count(records):
  """Returns {split: Counts} of some ImageRecords, in the order of SPLITS."""
  groups = collections.defaultdict(list)
  for record in records:
    groups[record.split].append(record)
  return {
    split: Counts(
      ids=len({record.person_id for record in groups[split]}),
      images=len(groups[split]),
      captions=sum(len(record.captions) for record in groups[split]),
    )
    for split in SPLITS
    if split in groups
  }


def _problem(entry, row, layout):
  """Returns what makes one entry of the annotation list unusable, or None."""
  if not isinstance(entry, dict):
    return f"entry {row} is {_kind(entry)}, not an object"
  path = entry.get(layout.path_key)
  if not isinstance(path, str) or not path:
    return f"entry {row} has no image path under {layout.path_key!r}"
  person_id, split, captions = entry.get("id"), entry.get("split"), entry.get("captions")
  if not isinstance(person_id, int) or isinstance(person_id, bool) or not 0 <= person_id <= MAX_ID:
    return f"{path} has the id {person_id!r}, not a whole number from 0"
  if not isinstance(split, str) or split.lower() not in SPLITS:
    return f"{path} has the split {split!r}, not one of {', '.join(SPLITS)}"
  if not isinstance(captions, list) or not captions:
    return f"{path} has no list of captions" if not isinstance(captions, list) else f"{path} has no caption"
  if not all(isinstance(caption, str) and caption.strip() and _is_unicode(caption) for caption in captions):
    return f"{path} has a caption that is empty or no text"
  return None


def _is_unicode(text):
  """Tells text from strings that JSON can hold but UTF-8 cannot (half of a surrogate pair)."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def _kind(value):
  return "an empty list" if value == [] else f"a {type(value).__name__}"


def _summary(annotations, what, problems):
  shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
  return f"{annotations}: {len(problems)} {what}: {shown}"
