"""What is kept of a finished entry: metrics, cost and protocol as JSON, and the scores of each query as an npz file.

The files are small and do not refer to the workdir, so that they can be committed; a later study continues from them.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from tireid_jax.metrics import QueryScores
from tireid_jax.storage import files
from tireid_jax.workdir import layout

FOLDER = "cells"
_REMEDY = "remove it and its npz file, and run the same command again"


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
  """A finished entry.

  Attributes:
    data: JSON data: "digest", "seed", "scoring", "dataset", "fingerprint", "split", "t2i", "i2t", "selection", "cost";
      where they are measured, also "further", of `further.of_model`, and "gap", of `gap.measure`.
    scores: of each query, text to image.
  """

  data: dict[str, Any]
  scores: QueryScores


def path_of(results: pathlib.Path, digest: str, seed: int) -> pathlib.Path:
  """Returns the JSON file of an entry; its npz file has the same name."""
  return results / FOLDER / f"{digest}-seed{seed}.json"


def write(results: pathlib.Path, record: Record) -> None:
  """Writes a record; the JSON file, which says that it is complete, comes last."""
  path = path_of(results, record.data["digest"], record.data["seed"])
  arrays = record.scores.to_arrays("t2i")
  layout.write_npz(path.with_suffix(".npz"), {name: _compact(values) for name, values in arrays.items()})
  files.write_json(path, record.data)


def read(results: pathlib.Path, digest: str, seed: int, scoring: dict[str, Any]) -> Record | None:
  """Returns the record of an entry, None if it is not finished or was scored in another way.

  Raises:
    UserError: it is damaged.
  """
  path = path_of(results, digest, seed)
  if not path.is_file():
    return None
  data = files.read_json(path, _REMEDY)
  if data["scoring"] != scoring:
    return None
  with np.load(path.with_suffix(".npz")) as arrays:
    return Record(data, QueryScores.from_arrays(arrays, "t2i"))


def _compact(values):
  """Returns integers in the smallest type that holds them, and fractions in single precision."""
  if values.dtype.kind == "f":
    return values.astype(np.float32)
  return values.astype(np.min_scalar_type(values.max())) if values.min() >= 0 else values
