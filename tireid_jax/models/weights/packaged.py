"""CLIP weights that are part of this package, by name."""

import pathlib

from tireid_jax.errors import MissingFileError

NAMES = ("toy_clip",)
# A folder for each: the weights with their config, and README.md, the model card.
FOLDER = pathlib.Path(__file__).parents[1] / "packaged"
FILES = ("model.safetensors", "config.json")


def find(name: str) -> pathlib.Path | None:
  """Returns the folder of the packaged weights of this name, None if there are none.

  Raises:
    MissingFileError: this installation lacks a file of them.
  """
  if name not in NAMES:
    return None
  for file in FILES:
    if not (FOLDER / name / file).is_file():
      raise MissingFileError(f"this installation lacks {FOLDER / name / file}; install the package again")
  return FOLDER / name
