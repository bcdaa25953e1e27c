"""TensorFlow Datasets builders of the raw data sets: images decoded and resized once, into array records.

TensorFlow itself is not needed. The shards are written one after the other, in the annotation file's order: the writer
of TFDS's GeneratorBasedBuilder buffers and shuffles, and beyond a gigabyte it imports TensorFlow to do so.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import io
import itertools
import os

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from tireid_jax import progress
from tireid_jax.data import schema

# A shard's examples are held until it is written, so this bounds the memory of preparing.
SHARD_BYTES = 128 * 2**20

# Images in flight per decoding thread: enough that the writer never waits, few enough to cost no memory.
IN_FLIGHT = 4


@dataclasses.dataclass(eq=False)
class SizeConfig(tfds.core.BuilderConfig):
  """A builder config per image size, named like "384x128" (h x w)."""

  image_size: tuple[int, int] = (384, 128)


class PersonSearchBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Builds one raw data set of `layout`; subclasses name it.

  The raw data is TFDS's `manual_dir`: the layout's folder or the one that holds it.
  """

  VERSION = tfds.core.Version(schema.VERSION)
  BUILDER_CONFIGS = [SizeConfig(name="384x128", description="Images of 384x128 pixels.", image_size=(384, 128))]
  MANUAL_DOWNLOAD_INSTRUCTIONS = "Ask the authors for the data set and unpack it; manual_dir is the folder it lies in."
  # Nothing is downloaded. Otherwise TFDS looks for checksums beside this file, by a package that need not be installed.
  url_infos = None
  layout: schema.Layout
  show_progress = True

  def _info(self):
    height, width = self.builder_config.image_size
    features = {
      # Raw bytes: otherwise TFDS stores one integer per value, 20 times slower to write and to read.
      "image": tfds.features.Tensor(shape=(height, width, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES),
      "person_id": np.int64,
      "file_path": tfds.features.Text(),
      "captions": tfds.features.Sequence(tfds.features.Text()),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{self.layout.folder}: one example per image, with the identity and every caption of it.",
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _shard_iterators_per_split(self, dl_manager):
    records = schema.read_annotations(self.layout, dl_manager.manual_dir)
    height, width = self.builder_config.image_size
    shard_images = max(1, SHARD_BYTES // (height * width * 3))
    bar = progress.bar(
      total=len(records), desc=f"prepare {self.layout.name}", unit="image", disable=not self.show_progress
    )
    shards = {}
    for split in schema.SPLITS:
      rows = [record for record in records if record.split == split]
      starts = range(0, len(rows), shard_images)
      if rows:
        shards[split] = [self._shard(rows[start : start + shard_images], start, bar) for start in starts]
    return shards

  def _shard(self, records, start, bar):
    """Returns a function that yields (row in the split, example) of some records."""

    def examples():
      images = decode_all([record.image_file for record in records], self.builder_config.image_size)
      for row, (record, image) in enumerate(zip(records, images, strict=True), start):
        yield (
          row,
          {
            "image": image,
            "person_id": record.person_id,
            "file_path": record.file_path,
            "captions": list(record.captions),
          },
        )
        bar.update()
      if bar.n == bar.total:
        bar.close()

    return examples


class CuhkPedes(PersonSearchBuilder):
  """CUHK-PEDES."""

  name = "cuhk_pedes"
  layout = schema.LAYOUTS["cuhk_pedes"]


class IcfgPedes(PersonSearchBuilder):
  """ICFG-PEDES."""

  name = "icfg_pedes"
  layout = schema.LAYOUTS["icfg_pedes"]


class RstpReid(PersonSearchBuilder):
  """RSTPReid."""

  name = "rstp_reid"
  layout = schema.LAYOUTS["rstp_reid"]


class SynthPedes(PersonSearchBuilder):
  """The embedded, procedurally drawn pedestrians."""

  name = "synth_pedes"
  layout = schema.LAYOUTS["synth_pedes"]


class SynthGeneric(PersonSearchBuilder):
  """The embedded generic domain: single garments, objects and figures on plain ground."""

  name = "synth_generic"
  layout = schema.LAYOUTS["synth_generic"]


BUILDERS = {cls.name: cls for cls in (CuhkPedes, IcfgPedes, RstpReid, SynthPedes, SynthGeneric)}


def build(name, raw_dir, data_dir, image_size, *, show_progress=True):
  """Builds a data set below `data_dir` and returns its folder, data_dir/name/HxW/version."""
  cls = BUILDERS[schema.layout_of(name).name]
  config = schema.size_name(image_size)
  if config not in cls.builder_configs:
    config = SizeConfig(name=config, version=schema.VERSION, image_size=tuple(image_size))
  with _quiet():
    builder = cls(data_dir=data_dir, config=config)
    builder.show_progress = show_progress
    builder.download_and_prepare(
      file_format="array_record",
      # Without this TFDS asks a server whether it has the data set.
      download_config=tfds.download.DownloadConfig(manual_dir=os.fspath(raw_dir), try_download_gcs=False),
    )
  return builder.data_path


def decode(image_file, image_size):
  """Returns u8[h, w, 3], the image resized bilinearly without regard to its aspect or its EXIF rotation."""
  height, width = image_size
  try:
    with Image.open(image_file) as image:
      resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # whatever PIL's plugins raise
    raise ValueError(f"{image_file} does not decode as an image ({error}); get that file again") from error
  return np.asarray(resized)


def decode_all(image_files, image_size):
  """Yields the decoded images of some files in order, several decoded at once."""
  num_threads = os.cpu_count() or 1
  # Threads, since PIL decodes and resizes outside of the interpreter's lock.
  pool = concurrent.futures.ThreadPoolExecutor(num_threads)
  try:
    files = iter(image_files)
    waiting = collections.deque(
      pool.submit(decode, file, image_size) for file in itertools.islice(files, num_threads * IN_FLIGHT)
    )
    while waiting:
      image = waiting.popleft().result()
      waiting.extend(pool.submit(decode, file, image_size) for file in itertools.islice(files, 1))
      yield image
  finally:
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _quiet():
  """Keeps TFDS from announcing a download that does not happen and an image size it has no list of."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)
