"""Reads the best checkpoint of a stage without a lock, while a run may be writing to its folder."""

import time
from typing import Any

from jax.sharding import Mesh

from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import distributed
from tireid_jax.storage import locations, lock
from tireid_jax.storage.locations import Path
from tireid_jax.terminal.progress import log_line
from tireid_jax.workdir import checkpoint

# How long a run may take to delete a checkpoint, how often to check for that, and how many checkpoints to try.
_DELETION_S = 10.0
_POLL_S = 0.1
_ATTEMPTS = 5


def restore(stage_folder: str | Path, mesh: Mesh) -> tuple[int, dict[str, Any], dict[str, Any]]:
  """Returns (step, variables, metadata) of the best checkpoint; every process calls it.

  If a running run deletes that checkpoint in the meantime, the next best one is read instead.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged, or of an earlier version.
  """
  choose = lambda: distributed.broadcast_from_first(lambda: checkpoint.best_step(stage_folder))  # noqa: E731
  step, (variables, metadata) = _read(
    stage_folder,
    choose,
    lambda step: checkpoint.restore_variables(stage_folder, step, mesh),
    distributed.in_any_process,
  )
  return step, variables, metadata


def read_metadata(stage_folder: str | Path) -> dict[str, Any]:
  """Returns the metadata of the best checkpoint without reading its arrays; like `restore`, but in one process."""
  return _read(
    stage_folder,
    lambda: checkpoint.best_step(stage_folder),
    lambda step: checkpoint.read_metadata(stage_folder, step),
    bool,
  )[1]


def _read(stage_folder, choose, read, in_any):
  """Returns (step, read(step)); in_any(claim) is whether a claim is true in any of the reading processes."""
  attempt = 0
  while True:
    attempt += 1
    step = choose()
    if step is None:
      raise MissingFileError(f"{_folder(stage_folder)} holds no checkpoint")
    result = failed = None
    try:
      result = read(step)
    except Exception as error:
      failed = error
    if not in_any(failed is not None):
      return step, result
    if attempt == _ATTEMPTS or not in_any(failed is not None and _is_deleted(stage_folder, step)):
      raise failed or UserError(f"another process cannot read checkpoint {step} in {_folder(stage_folder)}")
    log_line(f"checkpoint {step} in {_folder(stage_folder)} was deleted while it was read; reading its successor")


def _is_deleted(stage_folder, step):
  """Returns whether a checkpoint is gone, or will be soon because a run is deleting it."""
  folder, file = _folder(stage_folder) / str(step), locations.to_path(stage_folder).parent / lock.FILE
  deadline = time.monotonic() + _DELETION_S
  while folder.exists() and file.exists() and time.monotonic() < deadline:
    time.sleep(_POLL_S)
  return not folder.exists()


def _folder(stage_folder):
  return locations.to_path(stage_folder) / checkpoint.FOLDER
