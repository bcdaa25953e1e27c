"""TensorFlow Datasets builders of the prepared data sets, which pack shards of decoded images.

TensorFlow itself is not needed, neither to build nor to read.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import types
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import writer

from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared.shards import Shard
from tireid_jax.data.raw import schema


@dataclasses.dataclass(eq=False)
class SizeConfig(tfds.core.BuilderConfig):
  """A builder config per image size, named like "384x128" (h x w)."""

  image_size: tuple[int, int] = (384, 128)


class _Info(tfds.core.DatasetInfo):
  def initialize_from_bucket(self):
    """Does nothing. No server has these data sets, and TFDS would leave an empty temporary folder behind."""


class PersonSearchBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Builds one data set of `layout` from `shards`; subclasses name it."""

  VERSION = tfds.core.Version(schema.VERSION)
  BUILDER_CONFIGS = [SizeConfig(name="384x128", description="Images of 384x128 pixels.", image_size=(384, 128))]
  # Nothing is downloaded. Without this, TFDS looks for checksums with a package that may not be installed.
  url_infos = None
  layout: schema.Layout
  shards: Sequence[Shard] = ()

  def _info(self):
    height, width = self.builder_config.image_size
    features = {
      # Raw bytes: by default TFDS reads one integer per value, which is 15 times slower.
      "image": tfds.features.Tensor(shape=(height, width, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES),
      "person_id": np.int64,
      "file_path": tfds.features.Text(),
      "captions": tfds.features.Sequence(tfds.features.Text()),
      "camera": tfds.features.Text(),
      "time": tfds.features.Text(),
    }
    return _Info(
      builder=self,
      description=f"{self.layout.folder}: one example per image, with the identity and every caption of it.",
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _shard_iterators_per_split(self, dl_manager):
    if not self.shards:
      raise ValueError(f"{self.name} is prepared by python -m tireid_jax.data.prepare --config={self.layout.config}")
    return {
      split: [_counter(len(shard.images)) for shard in self.shards if shard.split == split]
      for split in schema.SPLITS
      if any(shard.split == split for shard in self.shards)
    }

  def _example_writer(self):
    return _Packer(self.info.file_format, [shard.file for shard in self.shards])


class _Packer(writer.ExampleWriter):
  """Puts the next finished shard where TFDS would write one; its examples are only counted."""

  def __init__(self, file_format, files):
    super().__init__(file_format)
    self._files = iter(files)

  def write(self, path, examples):
    file = next(self._files)
    try:
      os.link(file, path)  # so that the shard remains if a later step fails
    except OSError:  # a file system without links
      shutil.copyfile(file, path)


def _counter(num):
  """Returns a function that yields (number, None) for `num` examples."""
  return lambda: ((number, None) for number in range(num))


def _builder(layout, *, skip_registration=False):
  """Returns the builder class of a data set: TFDS registers a class, not an instance, for each name."""
  class_name = "".join(word.capitalize() for word in layout.name.split("_"))
  attributes = {"__doc__": f"{layout.folder}.", "__module__": __name__, "name": layout.name, "layout": layout}
  return types.new_class(
    class_name,
    (PersonSearchBuilder,),
    {"skip_registration": skip_registration},
    lambda namespace: namespace.update(attributes),
  )


BUILDERS = {name: _builder(layout) for name, layout in registry.LAYOUTS.items()}


def build(name: str, shards: Sequence[Shard], data_dir: pathlib.Path, image_size: tuple[int, int]) -> pathlib.Path:
  """Builds a data set of Shards, grouped by split, and returns its folder data_dir/name/HxW/version.

  Nothing is decoded or copied: the shards are linked into the folder.
  """
  cls = BUILDERS.get(name) or _builder(registry.layout_of(name), skip_registration=True)
  config = schema.size_name(image_size)
  if config not in cls.builder_configs:
    config = SizeConfig(name=config, version=schema.VERSION, image_size=image_size)
  with _quiet():
    builder = cls(data_dir=data_dir, config=config)
    builder.shards = shards
    builder.download_and_prepare(
      file_format="array_record",
      # By default TFDS queries a server for the data set.
      download_config=tfds.download.DownloadConfig(try_download_gcs=False),
    )
  return pathlib.Path(builder.data_path)


@contextlib.contextmanager
def _quiet():
  """Silences TFDS, which announces a download that does not happen, and an image size that is not in its list."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)
