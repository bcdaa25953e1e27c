"""A pool on disk: pictures in a memory-mapped file, their entries in chunks of JSON lines."""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from tireid_jax.data.toy.pool.captions import caption
from tireid_jax.data.toy.pool.entry import Entry, render, sample_entry
from tireid_jax.errors import UserError, naming
from tireid_jax.storage import files, lock
from tireid_jax.terminal.progress import bar

SETTINGS = "pool.json"
# To be increased with any change that changes a picture or a caption for the same settings.
VERSION = 1
CHUNK = 1000
# Every random stream of a pool is default_rng([seed, ENTRY or CAPTION, index, ...]).
ENTRY, CAPTION = 11, 12


class Pool:
  """Pictures and captions of a pool folder that `write_pool` has completed.

  Attributes:
    fingerprint: digest of its settings, which determine every picture and caption.
  """

  def __init__(self, folder: pathlib.Path, settings: dict):
    """Opens every chunk; `settings` is the content of the folder's pool.json."""
    self._seed = settings["seed"]
    self.fingerprint = fingerprint(**settings)
    starts = range(0, settings["num"], CHUNK)
    self._images = [np.load(_images(folder, start), mmap_mode="r") for start in starts]
    self._entries = [_entries(folder, start).read_bytes().splitlines() for start in starts]

  def __len__(self) -> int:
    return sum(map(len, self._entries))

  def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """Returns u8[h, w, 3], a view of the memory map."""
    return self._images[index // CHUNK][index % CHUNK]

  def entry(self, index: int) -> Entry:
    """Returns what picture `index` shows."""
    return json.loads(self._entries[index // CHUNK][index % CHUNK])

  def caption(self, index: int, pass_number: int) -> str:
    """Returns the caption of picture `index` in pass `pass_number`, a function of these and the pool's seed."""
    return _caption(self.entry(index), self._seed, index, pass_number)


class DrawnPool:
  """The same pictures and captions without a folder, each drawn when it is asked for: for a few of a large pool.

  Attributes:
    fingerprint: digest of what determines every picture and caption.
  """

  def __init__(self, seed: int, size: tuple[int, int]):
    """`seed` and `size` (h, w) are those of the pool."""
    self._seed, self._size = seed, size
    self.fingerprint = fingerprint(0, seed, size)

  def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """Returns u8[h, w, 3]."""
    return render(_entry(self._seed, index), self._size)

  def caption(self, index: int, pass_number: int) -> str:
    """Returns the caption of picture `index` in pass `pass_number`."""
    return _caption(_entry(self._seed, index), self._seed, index, pass_number)


def _entry(seed: int, index: int) -> Entry:
  """Returns an entry as it is read from a file."""
  return json.loads(json.dumps(sample_entry(np.random.default_rng([seed, ENTRY, index]))))


def _caption(entry, seed, index, pass_number):
  return caption(entry, np.random.default_rng([seed, CAPTION, index, pass_number]))


def write_pool(folder: str | os.PathLike, num: int, seed: int, size: tuple[int, int], processes: int = 1) -> Pool:
  """Draws the pictures of a pool that are not there yet, and opens it.

  Picture i depends on (seed, i) alone. A chunk appears whole, so a killed run is continued by calling this again.

  Args:
    folder: to write into; new, empty, or of an unfinished pool with the same settings.
    num: number of pictures, at least 1.
    seed: of all random streams, at least 0.
    size: (h, w) of the pictures.
    processes: how many draw at once.

  Raises:
    UserError: the folder holds something else, or another process writes to it, or an argument is out of range.
  """
  if processes < 1:
    raise UserError(f"a pool is drawn by 1 or more processes, not {processes}")
  check(folder, num, seed, size)
  folder = pathlib.Path(folder)
  settings = _settings(num, seed, size)
  with naming(folder), lock.holding(folder, folder, "give another folder"):
    _check_content(folder, settings)
    files.write_json(folder / SETTINGS, settings)
    tasks = [(folder, seed, tuple(size), start, min(start + CHUNK, num)) for start in range(0, num, CHUNK)]
    missing = [task for task in tasks if not _entries(folder, task[3]).exists()]
    _draw(missing, num, sum(stop - start for *_, start, stop in missing), processes)
  return open_pool(folder)


def open_pool(folder: str | os.PathLike) -> Pool:
  """Returns the pool in a folder.

  Raises:
    UserError: the folder holds no complete pool of this version.
  """
  folder = pathlib.Path(folder)
  if not (folder / SETTINGS).is_file():
    raise UserError(
      f"{folder} holds no {SETTINGS}, so it is not a pool of pictures; write one there or give its folder"
    )
  settings = files.read_json(folder / SETTINGS, "remove the folder and write the pool again")
  if settings.get("version") != VERSION:
    raise UserError(f"{folder} holds a pool of version {settings.get('version')}, this is {VERSION}; write it again")
  missing = [start for start in range(0, settings["num"], CHUNK) if not _entries(folder, start).exists()]
  if missing:
    raise UserError(f"{folder} is unfinished: {len(missing)} chunks are missing; call write_pool again to continue")
  return Pool(folder, settings)


def fingerprint(num: int, seed: int, size: Sequence[int], version: int = VERSION) -> str:
  """Returns a digest of the settings of a pool."""
  return hashlib.sha256(json.dumps(["pool", version, num, seed, list(size)]).encode()).hexdigest()


def check(folder: str | os.PathLike, num: int, seed: int, size: tuple[int, int]) -> None:
  """Raises as `write_pool` for settings that no pool can have, or a folder that holds something else; draws nothing."""
  if num < 1 or seed < 0 or min(size) < 16:
    raise UserError(
      f"a pool needs 1 or more pictures, a seed of 0 or more and sides of 16 pixels or more, got {num}, {seed} and "
      f"{size[0]}x{size[1]}"
    )
  with naming(folder):
    _check_content(pathlib.Path(folder), _settings(num, seed, size))


def _settings(num, seed, size):
  return {"num": num, "seed": seed, "size": list(size), "version": VERSION}


def _check_content(folder, settings):
  if not folder.exists() or not any(path.name != lock.FILE for path in folder.iterdir()):
    return
  if not (folder / SETTINGS).is_file():
    raise UserError(f"{folder} is not empty and holds no pool of pictures; give a new folder")
  found = files.read_json(folder / SETTINGS, "remove the folder and write the pool again")
  if found != settings:
    raise UserError(f"{folder} holds a pool with {found}, not {settings}; give the same values or another folder")


def _draw(tasks, num, num_missing, processes):
  with bar(total=num, initial=num - num_missing, desc="pool", unit="image") as progress:
    if processes == 1:
      for task in tasks:
        progress.update(_write_chunk(task))
      return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as executor:
      for count in executor.map(_write_chunk, tasks):
        progress.update(count)


def _write_chunk(task) -> int:
  """Writes one chunk, its entries last, since their file marks the chunk as complete."""
  folder, seed, size, start, stop = task
  entries = [_entry(seed, index) for index in range(start, stop)]
  lines = [json.dumps(entry) for entry in entries]
  pictures = np.stack([render(entry, size) for entry in entries])
  with files.new_file(_images(folder, start)) as temporary, temporary.open("wb") as file:
    np.save(file, pictures)
  files.write_text(_entries(folder, start), "".join(line + "\n" for line in lines))
  return len(entries)


def _images(folder, start):
  return folder / f"images_{start:07d}.npy"


def _entries(folder, start):
  return folder / f"entries_{start:07d}.jsonl"
