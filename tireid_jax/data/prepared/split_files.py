"""The files of one split of a prepared data set, its index and its records, once they are found to fit together."""

import contextlib
import errno
import json
import math
import os
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from tireid_jax.data.prepared import record_bytes
from tireid_jax.data.tokenizer import MAX_LENGTH
from tireid_jax.errors import UserError

# Images read into memory at a time, and rows compared with their records when a split is opened.
_CHUNK = 64
_NUM_CHECKED_ROWS = 8


class RecordImages:
  """Images of a split, copied from its records whenever they are indexed; nothing of them is kept in memory."""

  def __init__(self, records, file_of_row, positions, image_size):
    """Row i lies in file number `file_of_row[i]` of some RecordBytes, where its pixels begin at `positions[i]`."""
    self.shape = (len(positions), *image_size, 3)
    self.nbytes = int(np.prod(self.shape, dtype=np.int64))
    self._records = records
    self._file_of_row = file_of_row
    self._positions = positions

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, rows):
    """Returns u8[n, h, w, 3] for an array, list or slice of rows."""
    files, positions = self._file_of_row[rows], self._positions[rows]
    images = np.empty((len(files), *self.shape[1:]), np.uint8)
    for image, file, position in zip(images.reshape(len(files), -1), files.tolist(), positions.tolist(), strict=True):
      self._records.read_into(image, file, position)
    return images

  def only(self, rows):
    """Returns some of the images, as RecordImages too."""
    return RecordImages(self._records, self._file_of_row[rows], self._positions[rows], self.shape[1:3])

  def in_memory(self):
    """Returns all of them as one array."""
    images = np.empty(self.shape, np.uint8)
    for start in range(0, len(self), _CHUNK):
      images[start : start + _CHUNK] = self[start : start + _CHUNK]
    return images


def write_index(folder, split, *, tokens, texts, **columns):
  """Writes what is known of a split but its pixels; `read_index` returns the same by name.

  Args:
    folder: of the prepared data set.
    split: which of its splits.
    tokens: i32[num_captions, 77] ids.
    texts: {"captions", "file_paths", "cameras", "times"}, lists of strings.
    columns: arrays: "person_id" and "caption_image" as in Split, "position" of each image's pixels in its file, and
      of the raw image its "size" (h, w) and "digest".
  """
  # The strings go in as JSON: numpy would pad each to the longest.
  np.savez_compressed(
    _index_file(folder, split),
    tokens=np.asarray(tokens, np.min_scalar_type(np.max(tokens, initial=0))),
    texts=np.frombuffer(json.dumps(texts).encode(), np.uint8),
    **columns,
  )


def read_index(folder, split):
  """Returns {name: value} of all that `write_index` was given, the texts among the others."""
  with np.load(_index_file(folder, split), allow_pickle=False) as arrays:
    index = dict(arrays)
  return index | json.loads(index.pop("texts").tobytes())


@contextlib.contextmanager
def naming_damage(folder):
  """Turns what NumPy, TFDS and array_record raise of damaged files into one line; each has errors of its own."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    # What the disk says may pass; but to seek beyond a damaged zip file, or that a file is gone, is damage.
    if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.ENOENT):
      raise
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    raise UserError(f"{folder} is damaged ({reason}); remove it and prepare it again") from error


def open_stored(folder, split, info):
  """Returns (index, RecordImages) of a split as it is stored, once both are found to fit together."""
  index, counts = read_index(folder, split), info["counts"][split]
  _check_index(folder, split, index, counts)
  builder = tfds.builder_from_directory(folder)
  shards = builder.info.splits[split]
  if sum(shards.shard_lengths) != counts["images"] or min(shards.shard_lengths) < 0:
    raise UserError(f"index and records of {split} in {folder} do not belong together; remove it and prepare it again")
  # By name: a file may be a link, as of tools that keep each version of a file elsewhere.
  if any(os.path.dirname(os.path.abspath(file)) != os.path.abspath(folder) for file in shards.filepaths):
    raise UserError(f"{folder} names records of {split} in another folder; remove it and prepare it again")
  file_of_row = np.repeat(np.arange(len(shards.shard_lengths)), shards.shard_lengths)
  records = record_bytes.RecordBytes(shards.filepaths, math.prod(info["image_size"]) * 3)
  images = RecordImages(records, file_of_row, index["position"], tuple(info["image_size"]))
  _check_rows(folder, split, builder.as_data_source(split), index, images)
  return index, images


def _check_index(folder, split, index, counts):
  """Raises ValueError unless an index has the columns of so many images and captions."""
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


def _check_rows(folder, split, source, index, images):
  """Compares a few records as TFDS reads them with the index, so that mixed-up files are noticed before training."""
  rows = np.unique(np.linspace(0, len(source) - 1, _NUM_CHECKED_ROWS).astype(int))
  if len(index["person_id"]) != len(source) or any(
    record["file_path"].decode() != index["file_paths"][row]
    or record["person_id"] != index["person_id"][row]
    or not np.array_equal(record["image"], image)
    for row, record, image in zip(rows, source.__getitems__(rows.tolist()), images[rows], strict=True)
  ):
    raise UserError(f"index and records of {split} in {folder} do not belong together; remove it and prepare it again")


def _is_text(value):
  return isinstance(value, str)


def _index_file(folder, split):
  return pathlib.Path(folder) / f"index_{split}.npz"
