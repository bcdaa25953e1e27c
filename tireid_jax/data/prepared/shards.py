"""Decoded images in array records, written shard by shard, so that a killed run resumes at the first missing shard.

A shard appears whole or not at all, and then a JSON file about its images next to it, which completes it. The name of a
shard is a digest of all it is made from, so it is never confused with one of other images or of another size. The
records are those of the TFDS builders, uncompressed: pixels hardly compress, and this way they can be read directly
from the file.
"""

import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib

import numpy as np
import PIL
from array_record.python import array_record_module
from jaxtyping import UInt8
from tensorflow_datasets.proto import tf_example_pb2

from tireid_jax.data.prepared import images, record_bytes
from tireid_jax.data.raw import problems, schema
from tireid_jax.storage import files
from tireid_jax.terminal import progress

# Pixels per shard, in bytes: the maximum loss if the process is killed, and held in memory until the shard is written.
SHARD_BYTES = 64 * 2**20

# Disk space in addition to pixels: per image (other features and index entries) and per file.
_ENTRY_BYTES = 2048
_FILE_BYTES = 2 * record_bytes.BLOCK


@dataclasses.dataclass(frozen=True)
class StoredImage:
  """An image in a shard.

  Attributes:
    record: its annotation.
    size: (h, w) of the image file in pixels.
    digest: of the image file.
    position: byte offset of its pixels in the shard's file.
  """

  record: schema.ImageRecord
  size: tuple[int, int]
  digest: str
  position: int


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file of array records of one split, with its images in the order of the records."""

  file: pathlib.Path
  split: str
  images: list[StoredImage]


class Plan:
  """How records are divided into shards below a folder, and which shards are missing.

  Attributes:
    num_images: number of images in all shards.
    num_missing: number of images in the missing shards.
    num_bytes: disk space that the missing shards need.
  """

  def __init__(
    self,
    records: list[schema.ImageRecord],
    image_size: tuple[int, int],
    folder: str | pathlib.Path,
    *,
    use_exif: bool = True,
  ):
    """Looks at `folder` and writes nothing. `image_size` is (h, w), `use_exif` as in `images.decode`."""
    height, width = image_size
    self._image_size, self._use_exif = image_size, use_exif
    self._folder = pathlib.Path(folder)
    per_shard = max(1, SHARD_BYTES // (height * width * 3))
    self._parts = {}  # name: records
    for split in schema.SPLITS:
      of_split = [record for record in records if record.split == split]
      for start in range(0, len(of_split), per_shard):
        part = of_split[start : start + per_shard]
        self._parts[_name(part, start, image_size, use_exif)] = part
    self._missing = {name: part for name, part in self._parts.items() if not self._note(name).is_file()}
    self.num_images = len(records)
    self.num_missing = sum(len(part) for part in self._missing.values())
    self.num_bytes = self.num_missing * (height * width * 3 + _ENTRY_BYTES) + len(self._missing) * _FILE_BYTES

  def write(self, *, name: str, show_progress: bool = True) -> tuple[list[Shard], list[problems.Problem]]:
    """Writes the missing shards and returns (every Shard that has images, every Problem of an image).

    Args:
      name: of the data set, for the progress bar.
      show_progress: whether to show the progress bar.
    """
    self._folder.mkdir(parents=True, exist_ok=True)
    for file in self._folder.iterdir():
      if file.stem not in self._parts or file.suffix == ".part":  # former versions wrote those
        file.unlink()
    image_files = [record.image_file for part in self._missing.values() for record in part]
    decoded = images.decode_all(image_files, self._image_size, use_exif=self._use_exif)
    with progress.bar(
      total=self.num_images,
      initial=self.num_images - self.num_missing,
      desc=f"prepare {name}",
      unit="image",
      disable=not show_progress,
    ) as bar:
      for shard_name, part in self._missing.items():
        self._write_shard(shard_name, part, decoded, bar)
    return self._read_notes()

  def _write_shard(self, name, part, decoded, bar):
    """Writes a shard of the next results of `decoded`, then its note."""
    results, contents = [], []
    for record, result in zip(part, decoded, strict=False):  # the rest of `decoded` is of later shards
      results.append(result)
      if isinstance(result, images.Decoded):
        contents.append(serialize(record, result.pixels))
      bar.update()
    positions = iter(self._write_records(name, contents))
    entries = [
      {"size": result.size, "digest": result.digest, "position": next(positions)}
      if isinstance(result, images.Decoded)
      else {"kind": result.kind, "detail": result.detail}
      for result in results
    ]
    files.write_text(self._note(name), json.dumps(entries))

  def _write_records(self, name, contents):
    """Writes array records and returns the byte offset of the pixels of each in the file."""
    height, width = self._image_size

    if not contents:
      return []
    file = self._file(name)
    with files.new_file(file) as temporary:
      try:
        # One record per group, so that each can be read alone.
        writer = array_record_module.ArrayRecordWriter(os.fspath(temporary), "group_size:1,uncompressed")
        for content in contents:
          writer.write(content)
        writer.close()
      except RuntimeError as error:
        raise _file_error(error, temporary) from error
    return record_bytes.find_tails(file, contents, height * width * 3)

  def _read_notes(self):
    found, wrong = [], []
    for name, part in self._parts.items():
      stored = []
      for record, entry in zip(part, json.loads(self._note(name).read_text()), strict=True):
        if "kind" in entry:
          wrong.append(problems.Problem(entry["kind"], record.file_path, entry["detail"]))
        else:
          stored.append(StoredImage(record, tuple(entry["size"]), entry["digest"], entry["position"]))
      if stored:
        found.append(Shard(self._file(name), part[0].split, stored))
    return found, wrong

  def _file(self, name):
    return self._folder / f"{name}.array_record"

  def _note(self, name):
    return self._folder / f"{name}.json"


def serialize(record: schema.ImageRecord, pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
  """Returns a TFDS example of the builders' features as bytes, with the pixels u8[h, w, 3] last."""
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature["person_id"].int64_list.value.append(record.person_id)
  feature["file_path"].bytes_list.value.append(record.file_path.encode())
  feature["captions"].bytes_list.value.extend(caption.encode() for caption in record.captions)
  feature["camera"].bytes_list.value.append(record.camera.encode())
  feature["time"].bytes_list.value.append(record.time.encode())
  # Concatenated protobuf messages are read as one, so the pixels can be a message of their own.
  return b"".join((example.SerializeToString(deterministic=True), _pixels_prefix(pixels.nbytes), pixels.data))


@functools.lru_cache(maxsize=8)
def _pixels_prefix(num_bytes):
  """Returns the bytes that precede `num_bytes` of pixels in a TFDS example with no other feature."""
  example = tf_example_pb2.Example()
  example.features.feature["image"].bytes_list.value.append(bytes(num_bytes))
  return example.SerializeToString()[:-num_bytes]


def annotation(record: schema.ImageRecord) -> tuple:
  """Returns all that is annotated of an image, for digests."""
  return record.split, record.person_id, record.file_path, record.captions, record.camera, record.time, record.person


def file_state(record: schema.ImageRecord) -> tuple[int, int] | None:
  """Returns (size in bytes, modification time in ns) of a record's image file, or None if there is none."""
  try:
    stat = os.stat(record.image_file)
  except OSError:
    return None
  return stat.st_size, stat.st_mtime_ns


def _name(part, start, image_size, use_exif):
  """Returns a digest of records, the present state of their files, and how they are decoded."""
  states = [(*annotation(record), file_state(record)) for record in part]
  how = [schema.VERSION, images.DECODER, PIL.__version__, list(image_size), start, use_exif]
  return hashlib.sha256(json.dumps([how, states]).encode()).hexdigest()


def _file_error(error, file):
  """Returns the OSError whose message an error of array_record contains, or that error if there is none."""
  found = (number for number in errno.errorcode if os.strerror(number) in str(error))
  return next((OSError(number, os.strerror(number), os.fspath(file)) for number in found), error)
