"""The scores of every query of a split as an npz file: what a run writes as its ranks and `compare` reads."""

import dataclasses
import errno
import pathlib
from collections.abc import Mapping

import numpy as np

from tireid_jax.data.prepared.splits import Split
from tireid_jax.errors import UserError, naming
from tireid_jax.metrics import DIRECTIONS, QueryScores


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreFile:
  """Scores of every query, and of which data.

  Attributes:
    path: file they were read from.
    dataset, split, fingerprint: of the prepared data set.
    scores: {"t2i": QueryScores, "i2t": QueryScores}.
  """

  path: pathlib.Path
  dataset: str
  split: str
  fingerprint: str
  scores: Mapping[str, QueryScores]


def to_arrays(scores: Mapping[str, QueryScores], split: Split) -> dict[str, np.ndarray]:
  """Returns {name: array} of the scores of a split, as `read` expects them."""
  arrays = {
    "fingerprint": np.asarray(split.fingerprint),
    "dataset": np.asarray(split.name),
    "split": np.asarray(split.split),
  }
  for direction in DIRECTIONS:
    arrays.update(scores[direction].to_arrays(direction))
  return arrays


def read(path: pathlib.Path) -> ScoreFile:
  """Reads a file that was written from `to_arrays`.

  Raises:
    UserError: it is damaged, or another file.
    DiskError: it cannot be read.
  """
  try:
    with naming(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return ScoreFile(
        path=path,
        dataset=str(arrays["dataset"]),
        split=str(arrays["split"]),
        fingerprint=str(arrays["fingerprint"]),
        scores={direction: QueryScores.from_arrays(arrays, direction) for direction in DIRECTIONS},
      )
  # zipfile, zlib and NumPy raise all kinds of errors on a damaged file, which may also claim to be of any size.
  except Exception as error:
    if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a seek before the beginning of the file
      raise
    raise UserError(
      f"{path} holds no ranks of a split ({' '.join(str(error).split())[:200]}); give a file ranks_test.npz of a "
      f"workdir, or one of evaluate --dump"
    ) from None
