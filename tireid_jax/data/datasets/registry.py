"""The data sets by name. A file of this folder adds those in its LAYOUTS: no list of data sets is kept anywhere."""

import dataclasses
import functools
import importlib
import pathlib
import pkgutil
import typing
from collections.abc import Mapping

from tireid_jax.config import former
from tireid_jax.data import datasets
from tireid_jax.data.datasets import custom
from tireid_jax.data.raw import schema
from tireid_jax.errors import UserError, naming
from tireid_jax.storage import locations


def _layouts():
  """Returns {name: Layout} of every data set in this folder, in the alphabetical order of files."""
  found: dict[str, schema.Layout] = {}
  for file in pkgutil.iter_modules(datasets.__path__):
    if f"{datasets.__name__}.{file.name}" == __name__:
      continue
    for layout in getattr(importlib.import_module(f"{datasets.__name__}.{file.name}"), "LAYOUTS", ()):
      if layout.name in found or custom.is_custom(layout.name):
        raise ValueError(f"{file.name}.py: the name {layout.name} is already that of another data set")
      found[layout.name] = layout
  return found


LAYOUTS = _layouts()


@dataclasses.dataclass(frozen=True)
class RawData:
  """Where a raw data set is, and its reader.

  Attributes:
    layout: its Layout.
    annotations: its annotation file.
    images: the folder that image paths are relative to.
    read: returns its ImageRecords; problems are added to the list `problems` if given, and otherwise raised.
  """

  layout: schema.Layout
  annotations: pathlib.Path
  images: pathlib.Path
  read: typing.Callable[..., list[schema.ImageRecord]]


def layout_of(name: str) -> schema.Layout:
  """Returns the Layout of a data set's name; that of custom data has little more than the name and the config.

  Raises:
    ValueError: there is no data set of that name.
  """
  if custom.is_custom(name):
    return custom.layout(name)
  former.check_data_set(name)
  if name not in LAYOUTS:
    raise UserError(
      f"unknown data set {name!r}; config.data.name is one of {', '.join(LAYOUTS)}, or custom or custom_NAME"
    )
  return LAYOUTS[name]


def same_source(name: str) -> list[str]:
  """Returns the names of the other data sets whose images were taken from the same source as those of `name`."""
  source = LAYOUTS[name].source if name in LAYOUTS else ""  # custom data, and data sets of other versions, have none
  return [other for other, layout in LAYOUTS.items() if source and layout.source == source and other != name]


def find(name: str, raw_dir: str | pathlib.Path, settings: Mapping[str, typing.Any] | None = None) -> RawData:
  """Returns the RawData of a data set's name.

  Args:
    name: as config.data.name.
    raw_dir: the layout's folder or its parent; for custom data, the folder that paths are relative to.
    settings: config.custom, only for custom data.

  Raises:
    FileNotFoundError: the annotation file, or for custom data the folder of images, is missing.
    ValueError: there is no data set of that name, or it is custom data without settings.
  """
  raw_dir = locations.local_path(raw_dir, "--raw")
  layout = layout_of(name)
  if not custom.is_custom(name):
    with naming(raw_dir):
      file = schema.find_annotations(layout, raw_dir)
    images = file.parent / layout.image_folder
    return RawData(layout, file, images, functools.partial(schema.read_annotations, layout, raw_dir))
  if not settings:
    raise UserError(f"{name} is custom data, which config.custom describes; give --config=configs/custom.py")
  with naming(raw_dir):
    file, images = custom.find_files(settings, raw_dir)
  return RawData(layout, file, images, functools.partial(custom.read, settings, raw_dir))
