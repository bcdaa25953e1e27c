"""Writes the synthetic data sets to disk in the layout of CUHK-PEDES."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tireid_jax.data.datasets import toy
from tireid_jax.data.toy.attributes import GENERIC, SPLITS, sample_people
from tireid_jax.data.toy.captions import DEFAULT_NOISE, describe, tokens
from tireid_jax.data.toy.domains import DOMAINS
from tireid_jax.data.toy.generic import draw_generic
from tireid_jax.errors import UserError
from tireid_jax.storage import files, lock
from tireid_jax.terminal.progress import bar

PEDES_FOLDER, GENERIC_FOLDER = toy.PEDES.folder, toy.GENERIC.folder
ANNOTATIONS, ATTRIBUTES, SETTINGS, IMAGES = "reid_raw.json", "attributes.json", "settings.json", "imgs"
# To be increased with any change to this package that changes a written byte for the same settings.
GENERATOR_VERSION = 1
CAPTIONS_PER_IMAGE = 2
GENERIC_CHUNK = 32
# For fewer images, starting processes takes longer than drawing.
MIN_IMAGES_TO_SPREAD = 400

# An annotation in reid_raw.json, and the ground truth of the same image in attributes.json.
Entry = tuple[dict[str, Any], dict[str, Any]]


def write_all(root: str | os.PathLike, sizes: Any, persons: str = toy.PEDES.name) -> None:
  """Writes a data set of persons and ToyGeneric under `root`; `sizes` has the fields of `config.toy`."""
  write_of_config(root, persons, sizes)
  write_of_config(root, toy.GENERIC.name, sizes)


def write_of_config(root: str | os.PathLike, name: str, sizes: Any) -> None:
  """Writes the data set of this name under `root`; `sizes` has the fields of `config.toy`."""
  if name == toy.GENERIC.name:
    write_generic(
      root, seed=sizes.seed, num_train_images=sizes.generic_train_images, num_eval_images=sizes.generic_eval_images
    )
    return
  counts = {f"num_{split}_ids": sizes[f"num_{split}_ids"] for split in SPLITS}
  write_persons(root, name, seed=sizes.seed, images_per_id=sizes.images_per_id, **counts)


def write_pedes(root: str | os.PathLike, **settings: Any) -> Path:
  """Writes ToyPEDES under `root` and returns its folder; settings and errors as in `write_persons`."""
  return write_persons(root, toy.PEDES.name, **settings)


def write_persons(
  root: str | os.PathLike,
  name: str,
  *,
  seed: int,
  num_train_ids: int,
  num_val_ids: int,
  num_test_ids: int,
  images_per_id: int,
  caption_noise: float = DEFAULT_NOISE,
  num_workers: int | None = None,
) -> Path:
  """Writes a data set of persons under `root` and returns its folder; does nothing if it is there already.

  Alongside reid_raw.json and imgs/, attributes.json has by file_path the person's "attributes", the names of those
  "visible", the "view" and the attributes "mentioned" in each caption. It is for the oracle, never for training.

  Args:
    root: folder of the data sets; created if missing.
    name: of the data set, a key of DOMAINS.
    seed: random seed. An image depends only on it, the split, the person and the number of the image.
    num_train_ids: number of persons in the training split. No two persons share all attributes.
    num_val_ids: number of persons in the validation split.
    num_test_ids: number of persons in the test split.
    images_per_id: images per person, taken by the cameras in turn.
    caption_noise: fraction of attributes that captions describe wrongly.
    num_workers: number of processes, by default one per core. It does not affect the output. Processes are spawned, so
      a script that calls this with more than one needs the usual `if __name__ == "__main__"`.

  Raises:
    UserError: the sizes are invalid, or the folder exists with other settings.
  """
  counts = dict(zip(SPLITS, (num_train_ids, num_val_ids, num_test_ids), strict=True))
  settings: dict[str, Any] = {"seed": seed, **{f"num_{split}_ids": count for split, count in counts.items()}}
  settings |= {"images_per_id": images_per_id, "caption_noise": caption_noise}

  domain = DOMAINS[name]

  def tasks(folder: Path):
    for camera in domain.cameras:
      (folder / IMAGES / camera).mkdir(parents=True)
    number = 0
    for split, people in sample_people(seed, counts, domain.number).items():
      for index, person in enumerate(people):
        number += 1
        yield folder, name, seed, split, index, number, person, images_per_id, caption_noise

  return _publish(
    Path(root) / domain.folder, settings, sum(counts.values()) * images_per_id, tasks, _person, num_workers
  )


def write_generic(
  root: str | os.PathLike, *, seed: int, num_train_images: int, num_eval_images: int, num_workers: int | None = None
) -> Path:
  """Writes ToyGeneric under `root` and returns its folder; does nothing if it exists with the same settings.

  Every image is an identity of its own. Validation and test have `num_eval_images` each. Errors as in `write_persons`.
  """
  counts = dict(zip(SPLITS, (num_train_images, num_eval_images, num_eval_images), strict=True))
  settings = {"seed": seed, "num_train_images": num_train_images, "num_eval_images": num_eval_images}

  def tasks(folder: Path):
    first = 1
    for split, count in counts.items():
      (folder / IMAGES / split).mkdir(parents=True)
      for start in range(0, count, GENERIC_CHUNK):
        yield folder, seed, split, start, min(count, start + GENERIC_CHUNK), first
      first += count

  return _publish(Path(root) / GENERIC_FOLDER, settings, sum(counts.values()), tasks, _objects, num_workers)


def _person(task: tuple) -> list[Entry]:
  """Writes the images of one person."""
  folder, name, seed, split, index, number, person, images_per_id, noise = task
  stream = [seed, DOMAINS[name].number, SPLITS.index(split), index]
  entries: list[Entry] = []
  for shot, (camera, rng) in enumerate(shots(seed, split, index, images_per_id, name)):
    data, view, visible = DOMAINS[name].take(rng, person, camera)
    path = image_path(camera, number, shot)
    (folder / IMAGES / path).write_bytes(data)
    captions = [
      describe(np.random.default_rng([*stream, 3, shot, caption]), person, view, visible, noise=noise)
      for caption in range(CAPTIONS_PER_IMAGE)
    ]
    truth = {"attributes": person.attributes, "visible": sorted(visible), "view": view}
    truth["mentioned"] = [mentioned for _, mentioned in captions]
    entries.append((_annotation(split, [text for text, _ in captions], path, number), truth))
  return entries


def shots(
  seed: int, split: str, index: int, images_per_id: int, name: str = toy.PEDES.name
) -> Iterator[tuple[str, np.random.Generator]]:
  """Yields the camera and the random generator of each image of a person, the `index`-th of a split."""
  stream = [seed, DOMAINS[name].number, SPLITS.index(split), index]
  cameras = DOMAINS[name].cameras
  order = np.random.default_rng([*stream, 1]).permutation(len(cameras))
  for shot in range(images_per_id):
    yield cameras[order[shot % len(cameras)]], np.random.default_rng([*stream, 2, shot])


def image_path(camera: str, number: int, shot: int) -> str:
  """Returns the path of an image below imgs/; `number` is the person's, from 1, over all splits."""
  return f"{camera}/{number:04d}_{shot:02d}.jpg"


def _objects(task: tuple) -> list[Entry]:
  """Writes a chunk of images of the generic domain."""
  folder, seed, split, start, stop, first = task
  entries: list[Entry] = []
  for index in range(start, stop):
    path = f"{split}/{index:05d}.jpg"
    data, captions = draw_generic(
      np.random.default_rng([seed, GENERIC, SPLITS.index(split), index]), CAPTIONS_PER_IMAGE
    )
    (folder / IMAGES / path).write_bytes(data)
    entries.append((_annotation(split, captions, path, first + index), {}))
  return entries


def _annotation(split: str, captions: list[str], path: str, number: int) -> dict[str, Any]:
  processed = [tokens(caption) for caption in captions]
  return {"split": split, "captions": captions, "file_path": path, "processed_tokens": processed, "id": number}


def _publish(
  target: Path,
  settings: dict[str, Any],
  num_images: int,
  tasks: Callable[[Path], Iterable[Any]],
  work: Callable[[Any], list[Entry]],
  num_workers: int | None,
) -> Path:
  """Writes the data set to a temporary folder and renames it, so that `target` is complete or absent."""
  _check(settings)
  with lock.holding(target.parent, target.parent, "give another --to"):
    return _publish_alone(
      target, {"generator_version": GENERATOR_VERSION, **settings}, num_images, tasks, work, num_workers
    )


def _publish_alone(target, settings, num_images, tasks, work, num_workers):
  if _is_made(target, settings):
    return target
  entries: list[Entry] = []
  with files.new_folder(target) as folder:
    with bar(total=num_images, desc=target.name, unit="image") as progress:
      for part in _spread(work, tasks(folder), num_images, num_workers):
        entries += part
        progress.update(len(part))
    _write_json(folder / ANNOTATIONS, [annotation for annotation, _ in entries])
    truths = {annotation["file_path"]: truth for annotation, truth in entries if truth}
    if truths:
      _write_json(folder / ATTRIBUTES, truths)
    _write_json(folder / SETTINGS, settings)
  return target


def _check(settings):
  for name, value in settings.items():
    least = 1 if name in ("images_per_id", "num_train_ids", "num_train_images") else 0
    if value < least:
      raise UserError(f"{name} of the synthetic data is {value}; it must be {least} or more")
  if settings.get("caption_noise", 0) > 1:
    raise UserError(f"caption_noise of the synthetic data is {settings['caption_noise']}; it is a fraction, at most 1")


def _is_made(target: Path, settings: dict[str, Any]) -> bool:
  """Whether `target` exists and was written with `settings`; raises UserError if it exists but was not."""
  if not target.exists():
    return False
  record = target / SETTINGS
  if not record.is_file():
    raise UserError(f"{target} exists but was not written by tireid_jax.data.toy; remove it or choose another --to")
  found = json.loads(record.read_text())
  different = [
    f"{name} {found.get(name)} (now {settings.get(name)})"
    for name in sorted(found.keys() | settings.keys())
    if found.get(name) != settings.get(name)
  ]
  if different:
    raise UserError(f"{target} was made with other settings: {', '.join(different)}; remove it or choose another --to")
  return True


def _spread(work, tasks, num_images, num_workers):
  """Yields work(task) in the order of the tasks, computed by `num_workers` processes."""
  if num_workers is None:
    num_workers = num_cores() if num_images >= MIN_IMAGES_TO_SPREAD else 1
  if num_workers == 1:
    yield from map(work, tasks)
    return
  with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
    yield from pool.imap(work, tasks, chunksize=4)


def num_cores() -> int:
  """Returns the number of cores this process may use, in a container often fewer than the machine has."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_json(path: Path, value: Any):
  path.write_text(json.dumps(value, indent=1) + "\n")
