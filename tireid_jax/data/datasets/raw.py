"""A raw data set by its name, whether of a published layout or somebody's own."""

import dataclasses
import functools
import pathlib
import typing

from tireid_jax.data.datasets import custom, schema
from tireid_jax.errors import UserError, naming
from tireid_jax.storage import locations


@dataclasses.dataclass(frozen=True)
class RawData:
  """Where a raw data set lies.

  Attributes:
    layout: its Layout.
    annotations: its annotation file.
    images: the folder that image paths are relative to.
    read: returns its ImageRecords; given `problems`, it adds to that list what is wrong, and otherwise raises it.
  """

  layout: schema.Layout
  annotations: pathlib.Path
  images: pathlib.Path
  read: typing.Callable


def find(name, raw_dir, settings=None):
  """Returns the RawData of a data set's name.

  Args:
    name: as config.data.name.
    raw_dir: the layout's folder or the one that holds it; for custom data the folder that paths are relative to.
    settings: config.custom, for custom data alone.

  Raises:
    FileNotFoundError: the annotation file, or for custom data the folder of images, is not there.
    ValueError: there is no data set of that name, or it is custom data without settings.
  """
  raw_dir = locations.local_path(raw_dir, "--raw")
  layout = schema.layout_of(name)
  if not schema.is_custom(name):
    with naming(raw_dir):
      file = schema.find_annotations(layout, raw_dir)
    return RawData(layout, file, file.parent / "imgs", functools.partial(schema.read_annotations, layout, raw_dir))
  if not settings:
    raise UserError(f"{name} is custom data, which config.custom describes; give --config=configs/custom.py")
  with naming(raw_dir):
    file, images = custom.find_files(settings, raw_dir)
  return RawData(layout, file, images, functools.partial(custom.read, settings, raw_dir))
