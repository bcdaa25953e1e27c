"""The true attributes of the persons of ToyPEDES, and those that each caption mentions, as the data set was written."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from tireid_jax.data.toy.write import ANNOTATIONS, ATTRIBUTES, PEDES_FOLDER
from tireid_jax.errors import MissingFileError, UserError, naming

Attributes = dict[str, str]  # value by name


class Truth(NamedTuple):
  """Attributes of each person by identity, and those that each caption mentions, mistakes included."""

  persons: dict[int, Attributes]
  mentioned: list[Attributes]


def find_folder(raw: str | os.PathLike) -> pathlib.Path:
  """Returns the folder of ToyPEDES: `raw`, as in `data.toy --to=RAW`, or its folder of this data set.

  Raises:
    MissingFileError: neither has attributes.json.
  """
  for folder in (pathlib.Path(raw), pathlib.Path(raw) / PEDES_FOLDER):
    with naming(folder):
      if (folder / ATTRIBUTES).is_file():
        return folder
  raise MissingFileError(
    f"{raw} holds no {ATTRIBUTES}; give the folder that python -m tireid_jax.data.toy --to=RAW wrote"
  )


def read(folder: pathlib.Path, captions: Sequence[str], paths: Sequence[str]) -> Truth:
  """Returns the Truth of some captions.

  Args:
    folder: from `find_folder`.
    captions: all captions of each image, in their order.
    paths: of the image of each caption, as `Split.file_paths`.

  Raises:
    UserError: the files are damaged, or do not have these captions.
  """
  try:
    with naming(folder):
      truths = json.loads((folder / ATTRIBUTES).read_text())
      entries = {entry["file_path"]: entry for entry in json.loads((folder / ANNOTATIONS).read_text())}
    persons = {int(entry["id"]): _checked(truths[path]["attributes"]) for path, entry in entries.items()}
    return Truth(persons, _mentioned(truths, entries, captions, paths))
  except UserError:
    raise
  except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
    raise UserError(
      f"{folder} is not what was prepared, or damaged ({type(error).__name__}: {error}); give the --raw folder from "
      f"which the data set was prepared"
    ) from error


def _mentioned(truths, entries, captions, paths) -> list[Attributes]:
  found, seen = [], dict.fromkeys(paths, 0)
  for caption, path in zip(captions, paths, strict=True):
    number = seen[path]
    seen[path] += 1
    written: list[Any] = entries[path]["captions"]
    if written[number] != caption:
      raise KeyError(f"another caption of {path}")
    found.append(_checked(truths[path]["mentioned"][number]))
  return found


def _checked(attributes: Any) -> Attributes:
  if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
    raise TypeError("attributes are not text by name")
  return attributes
