"""The files of one split of a prepared data set, its index and its records, checked to belong together."""

import contextlib
import errno
import json
import math
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tireid_jax.data.prepared import record_bytes
from tireid_jax.data.tokenizer import MAX_LENGTH
from tireid_jax.errors import UserError

# Images read into memory at a time, and examples compared with their records when a split is opened.
_CHUNK = 64
_NUM_CHECKED = 8


class RecordImages:
  """Images of a split, read from its records when indexed; none is held in memory."""

  def __init__(
    self,
    records: record_bytes.RecordBytes,
    file_of_image: np.ndarray,
    positions: np.ndarray,
    image_size: tuple[int, int],
  ):
    """The pixels of image i begin at byte `positions[i]` of file number `file_of_image[i]` of the RecordBytes."""
    self.shape = (len(positions), *image_size, 3)
    self.nbytes = int(np.prod(self.shape, dtype=np.int64))
    self._records = records
    self._file_of_image = file_of_image
    self._positions = positions

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, indices: np.ndarray | list[int] | slice) -> np.ndarray:
    """Returns u8[n, h, w, 3]."""
    files, positions = self._file_of_image[indices], self._positions[indices]
    images = np.empty((len(files), *self.shape[1:]), np.uint8)
    for image, file, position in zip(images.reshape(len(files), -1), files.tolist(), positions.tolist(), strict=True):
      self._records.read_into(image, file, position)
    return images

  def only(self, indices: np.ndarray) -> "RecordImages":
    """Returns some of the images, still on disk."""
    return RecordImages(self._records, self._file_of_image[indices], self._positions[indices], self.shape[1:3])

  def in_memory(self) -> np.ndarray:
    """Returns all images, u8[n, h, w, 3]."""
    images = np.empty(self.shape, np.uint8)
    for start in range(0, len(self), _CHUNK):
      images[start : start + _CHUNK] = self[start : start + _CHUNK]
    return images


def write_index(
  folder: pathlib.Path, split: str, *, tokens: np.ndarray, texts: dict[str, list[str]], **columns: Any
) -> None:
  """Writes the index of a split, all but its pixels; `read_index` returns it.

  Args:
    folder: of the prepared data set.
    split: name of the split.
    tokens: i32[num_captions, 77] ids.
    texts: {"captions", "file_paths", "cameras", "times"}, lists of strings.
    columns: arrays: "person_id" and "caption_image" as in Split, "position" of each image's pixels in its file, and
      of the raw image its "size" (h, w) and "digest".
  """
  # Strings are stored as JSON: NumPy would pad each to the longest.
  np.savez_compressed(
    _index_file(folder, split),
    tokens=np.asarray(tokens, np.min_scalar_type(np.max(tokens, initial=0))),
    texts=np.frombuffer(json.dumps(texts).encode(), np.uint8),
    **columns,
  )


def read_index(folder: pathlib.Path, split: str) -> dict[str, Any]:
  """Returns {name: value} of all arguments of `write_index`, with the texts as entries of their own."""
  with np.load(_index_file(folder, split), allow_pickle=False) as arrays:
    index = dict(arrays)
  return index | json.loads(index.pop("texts").tobytes())


@contextlib.contextmanager
def naming_damage(folder):
  """Turns the various errors of NumPy, TFDS and array_record about damaged files into a UserError."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    # Disk errors may be temporary; but a missing file, or a seek beyond the end of a zip file, is damage.
    if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.ENOENT):
      raise
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    raise UserError(f"{folder} is damaged ({reason}); remove it and prepare it again") from error


def open_stored(folder: pathlib.Path, split: str, info: dict[str, Any]) -> tuple[dict[str, Any], RecordImages]:
  """Returns (index, RecordImages) of a stored split; raises ValueError if they do not belong together."""
  index, counts = read_index(folder, split), info["counts"][split]
  _check_index(folder, split, index, counts)
  builder = tfds.builder_from_directory(folder)
  shards = builder.info.splits[split]
  if sum(shards.shard_lengths) != counts["images"] or min(shards.shard_lengths) < 0:
    raise UserError(f"index and records of {split} in {folder} do not belong together; remove it and prepare it again")
  # Compared by name: a file may be a link, as made by tools that store versions of files elsewhere.
  if any(os.path.dirname(os.path.abspath(file)) != os.path.abspath(folder) for file in shards.filepaths):
    raise UserError(f"{folder} names records of {split} in another folder; remove it and prepare it again")
  file_of_image = np.repeat(np.arange(len(shards.shard_lengths)), shards.shard_lengths)
  records = record_bytes.RecordBytes(shards.filepaths, math.prod(info["image_size"]) * 3)
  images = RecordImages(records, file_of_image, index["position"], tuple(info["image_size"]))
  _check_records(folder, split, builder.as_data_source(split), index, images)
  return index, images


def _check_index(folder, split, index, counts):
  """Raises ValueError unless all arrays and lists of an index fit the counts of images and captions."""
  num_images, num_captions = counts["images"], counts["captions"]
  shapes = {
    "person_id": (num_images,), "position": (num_images,), "caption_image": (num_captions,),
    "tokens": (num_captions, MAX_LENGTH),
  }  # fmt: skip
  texts = {"captions": num_captions, "file_paths": num_images, "cameras": num_images, "times": num_images}
  wrong = [name for name, shape in shapes.items() if index[name].shape != shape or index[name].dtype.kind not in "iu"]
  wrong += [name for name, num in texts.items() if len(index[name]) != num or not all(map(_is_text, index[name]))]
  if not wrong and num_captions:
    wrong += ["caption_image"] * (not 0 <= index["caption_image"].min() <= index["caption_image"].max() < num_images)
  if not wrong and num_images:
    wrong += ["position"] * bool(index["position"].min() < 0)
  if wrong:
    raise UserError(
      f"index and records of {split} in {folder} do not belong together ({wrong[0]} is not that of {num_images} images "
      f"and {num_captions} captions); remove it and prepare it again"
    )


def _check_records(folder, split, source, index, images):
  """Compares a few records as read by TFDS with the index, so that mixed-up files are noticed before training."""
  checked = np.unique(np.linspace(0, len(source) - 1, _NUM_CHECKED).astype(int))
  if len(index["person_id"]) != len(source) or any(
    record["file_path"].decode() != index["file_paths"][number]
    or record["person_id"] != index["person_id"][number]
    or not np.array_equal(record["image"], image)
    for number, record, image in zip(checked, source.__getitems__(checked.tolist()), images[checked], strict=True)
  ):
    raise UserError(f"index and records of {split} in {folder} do not belong together; remove it and prepare it again")


def _is_text(value):
  return isinstance(value, str)


def _index_file(folder, split):
  return pathlib.Path(folder) / f"index_{split}.npz"
