"""Decoded images in array records, a shard at a time, so that a run that was killed goes on where it was.

A shard is written under another name and renamed when it is whole; what is known of its images lies beside it, and is
written last. Its name is a digest of what it is made from, so that no shard of other images, or of another size, is
taken for it. The records are those of the TFDS builders, uncompressed: pixels hardly compress, and uncompressed they
can be read straight from the file.
"""

import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib

import PIL
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from tireid_jax.data.prepared import images, record_bytes
from tireid_jax.data.raw import problems, schema
from tireid_jax.storage import files
from tireid_jax.terminal import progress

# Pixels per shard. A kill costs at most the images of one, and so many bytes are held until it is written.
SHARD_BYTES = 64 * 2**20

# Disk space besides pixels: of an image's other features and its place in the index, and of a file.
_ROW_BYTES = 2048
_FILE_BYTES = 2 * record_bytes.BLOCK


@dataclasses.dataclass(frozen=True)
class Row:
  """An image in a shard: its record, its own (h, w), its file's digest, and where in the shard its pixels begin."""

  record: schema.ImageRecord
  size: tuple[int, int]
  digest: str
  position: int


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file of array records, of one split; `rows` are in its order."""

  file: pathlib.Path
  split: str
  rows: list[Row]


class Plan:
  """How some records are cut into shards below a folder, and which of these are there.

  Attributes:
    num_images: of all shards.
    num_missing: of the shards that are not there.
    num_bytes: disk space that those need.
  """

  def __init__(self, records, image_size, folder, *, use_exif=True):
    """Reads what is in `folder`; writes nothing. `use_exif` is that of `images.decode`."""
    height, width = image_size
    self._image_size, self._use_exif = image_size, use_exif
    self._folder = pathlib.Path(folder)
    per_shard = max(1, SHARD_BYTES // (height * width * 3))
    self._parts = {}  # name: records
    for split in schema.SPLITS:
      rows = [record for record in records if record.split == split]
      for start in range(0, len(rows), per_shard):
        part = rows[start : start + per_shard]
        self._parts[_name(part, start, image_size, use_exif)] = part
    self._missing = {name: part for name, part in self._parts.items() if not self._note(name).is_file()}
    self.num_images = len(records)
    self.num_missing = sum(len(part) for part in self._missing.values())
    self.num_bytes = self.num_missing * (height * width * 3 + _ROW_BYTES) + len(self._missing) * _FILE_BYTES

  def write(self, *, name, show_progress=True):
    """Writes the missing shards and returns (every Shard that has images, every Problem found).

    Args:
      name: of the data set, for the progress bar.
      show_progress: shows it.
    """
    self._folder.mkdir(parents=True, exist_ok=True)
    for file in self._folder.iterdir():
      if file.stem not in self._parts:
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
    """Writes a shard of the next results of `decoded`, and its note."""
    results, contents = [], []
    for record, result in zip(part, decoded, strict=False):  # the others of `decoded` are of later shards
      results.append(result)
      if isinstance(result, images.Decoded):
        contents.append(serialize(record, result.pixels))
      bar.update()
    positions = iter(self._write_records(name, contents))
    rows = [
      {"size": result.size, "digest": result.digest, "position": next(positions)}
      if isinstance(result, images.Decoded)
      else {"kind": result.kind, "detail": result.detail}
      for result in results
    ]
    files.write_text(self._note(name), json.dumps(rows))

  def _write_records(self, name, contents):
    """Writes array records, and returns where the pixels of each begin in the file."""
    height, width = self._image_size

    if not contents:
      return []
    file = self._file(name)
    with files.new_file(file) as temporary:
      try:
        # One record a group, so that each can be read alone.
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
      rows = []
      for record, row in zip(part, json.loads(self._note(name).read_text()), strict=True):
        if "kind" in row:
          wrong.append(problems.Problem(row["kind"], record.file_path, row["detail"]))
        else:
          rows.append(Row(record, tuple(row["size"]), row["digest"], row["position"]))
      if rows:
        found.append(Shard(self._file(name), part[0].split, rows))
    return found, wrong

  def _file(self, name):
    return self._folder / f"{name}.array_record"

  def _note(self, name):
    return self._folder / f"{name}.json"


def serialize(record, pixels):
  """Returns the bytes of a TFDS example of the builders' features, the pixels last."""
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature["person_id"].int64_list.value.append(record.person_id)
  feature["file_path"].bytes_list.value.append(record.file_path.encode())
  feature["captions"].bytes_list.value.extend(caption.encode() for caption in record.captions)
  feature["camera"].bytes_list.value.append(record.camera.encode())
  feature["time"].bytes_list.value.append(record.time.encode())
  # Messages in a row are read as one, so the pixels need no place among the others.
  return b"".join((example.SerializeToString(deterministic=True), _pixels_prefix(pixels.nbytes), pixels.data))


@functools.lru_cache(maxsize=8)
def _pixels_prefix(num_bytes):
  """Returns what precedes so many bytes of pixels in a TFDS example of the pixels alone."""
  example = tf_example_pb2.Example()
  example.features.feature["image"].bytes_list.value.append(bytes(num_bytes))
  return example.SerializeToString()[:-num_bytes]


def annotation(record):
  """Returns all that is annotated of an image, for digests."""
  return record.split, record.person_id, record.file_path, record.captions, record.camera, record.time, record.person


def file_state(record):
  """Returns (bytes, nanoseconds of the last change) of a record's file, or None where there is none."""
  try:
    stat = os.stat(record.image_file)
  except OSError:
    return None
  return stat.st_size, stat.st_mtime_ns


def _name(part, start, image_size, use_exif):
  """Returns a digest of some records, their files as they are now, and how they are decoded."""
  rows = [(*annotation(record), file_state(record)) for record in part]
  how = [schema.VERSION, images.DECODER, PIL.__version__, list(image_size), start, use_exif]
  return hashlib.sha256(json.dumps([how, rows]).encode()).hexdigest()


def _file_error(error, file):
  """Returns the OSError that an error of array_record names in words, or the error itself if it names none."""
  found = (number for number in errno.errorcode if os.strerror(number) in str(error))
  return next((OSError(number, os.strerror(number), os.fspath(file)) for number in found), error)
