"""Small raw data sets of real JPEG files in the layouts of the published data sets, for tests."""

import json
import pathlib

import numpy as np
from PIL import Image

from tireid_jax.data.datasets import registry
from tireid_jax.data.raw import annotations

# Number of identities per split. Small, but every split of every data set fills a batch of 4.
NUM_IDS = {"train": 6, "val": 3, "test": 3}
IMAGES_PER_ID = 3

# Data sets that `make_tree` can write: those in the common layout. A data set with its own reader has its own tests.
NAMES = tuple(
  name
  for name, layout in registry.LAYOUTS.items()
  if layout.read_entries is annotations.load_list and layout.image_folder == "imgs"
)

_COLOURS = ("red", "green", "blue", "black", "white", "yellow", "grey", "brown", "pink", "purple")
_GARMENTS = ("coat", "shirt", "jacket", "dress", "vest", "sweater")


def make_tree(raw_dir, name, *, num_ids=None, images_per_id=IMAGES_PER_ID, seed=0):
  """Writes a raw data set below `raw_dir`, with the peculiarities of the real one, and returns its folder.

  Args:
    raw_dir: where the layout's folder is created.
    name: name of the data set, as in config.data.name.
    num_ids: {split: number of identities}; splits that the real data set lacks are ignored.
    images_per_id: images of each identity, except for one identity per split of CUHK-PEDES, which has a single image.
    seed: random seed of sizes, pixels, captions and the order of entries.
  """
  layout = registry.layout_of(name)
  rng = np.random.default_rng(seed)
  root = pathlib.Path(raw_dir) / layout.folder
  entries, person_id = [], layout.first_id
  for split, count in (num_ids or NUM_IDS).items():
    if layout.published and split not in layout.published:
      continue
    for index in range(count):
      is_single = layout.first_id == 1 and index == 0
      for shot in range(1 if is_single else images_per_id):
        entries.append(_entry(layout, split, person_id, shot, rng))
        write_image(root / "imgs" / entries[-1][layout.path_key], rng)
      person_id += 1
  entries = [entries[index] for index in rng.permutation(len(entries))]
  write_annotations(root, layout, entries)
  return root


def read_entries(root, name):
  """Returns the entries of the annotation file in a raw data set."""
  return json.loads((root / registry.layout_of(name).annotation_files[0]).read_text(encoding="utf-8"))


def write_annotations(root, layout, entries):
  """Writes the annotation file of a raw data set."""
  root.mkdir(parents=True, exist_ok=True)
  layout = registry.layout_of(layout) if isinstance(layout, str) else layout
  (root / layout.annotation_files[0]).write_text(json.dumps(entries), encoding="utf-8")


def write_image(path, rng):
  """Writes a JPEG file of random size with smooth random colours."""
  path.parent.mkdir(parents=True, exist_ok=True)
  width, height = int(rng.integers(20, 50)), int(rng.integers(50, 110))
  coarse = rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)
  Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)


def _entry(layout, split, person_id, shot, rng):
  """Returns one entry of an annotation list, in the format of the real file."""
  # CUHK-PEDES has folders of older data sets, ICFG-PEDES stores some test images below train/, RSTPReid is flat.
  path = {
    "icfg_pedes": f"{'train' if (person_id + shot) % 2 else 'test'}/{person_id:04d}/{person_id:04d}_{shot:03d}.jpg",
    "rstp_reid": f"{person_id:04d}_c{shot + 1}_{shot:04d}.jpg",
  }.get(layout.name, f"{('CUHK03', 'Market')[person_id % 2]}/{person_id:04d}_{shot}.jpg")
  # One caption per image in ICFG-PEDES, two elsewhere, and sometimes three in CUHK-PEDES.
  num_captions = 1 if layout.name == "icfg_pedes" else 2
  if layout.first_id == 1 and shot == 1:
    num_captions = 3
  captions = [_caption(person_id, rng) for _ in range(num_captions)]
  entry = {"split": split, "captions": captions, layout.path_key: path, "id": person_id}
  if layout.name != "rstp_reid":
    entry["processed_tokens"] = [caption.lower().rstrip(".").split() for caption in captions]
  return entry


def _caption(person_id, rng):
  colour, garment = _COLOURS[person_id % len(_COLOURS)], _GARMENTS[person_id % len(_GARMENTS)]
  words = f"A person in a {colour} {garment} with {_COLOURS[int(rng.integers(len(_COLOURS)))]} shoes."
  return words + " They are walking." * int(rng.integers(0, 4))
