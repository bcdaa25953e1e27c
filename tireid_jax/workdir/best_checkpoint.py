"""The checkpoint that a stage is represented by, read while a run may be at work in its folder, without a lock."""

import time

from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import distributed
from tireid_jax.storage import locations, lock
from tireid_jax.terminal.progress import say
from tireid_jax.workdir import checkpoint

# How long a run takes to delete a checkpoint, how often that is looked at, and how many successors are tried.
_DELETION_S = 10.0
_POLL_S = 0.1
_ATTEMPTS = 5


def restore(stage_folder, mesh):
  """Returns (step, variables, metadata) of the chosen checkpoint; every process calls it alike.

  A run may be at work in the folder: of a checkpoint that it deletes meanwhile the successor is taken.

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


def read_metadata(stage_folder):
  """Returns the metadata of the chosen checkpoint, without its arrays; as `restore`, but of one process."""
  return _read(
    stage_folder,
    lambda: checkpoint.best_step(stage_folder),
    lambda step: checkpoint.read_metadata(stage_folder, step),
    bool,
  )[1]


def _read(stage_folder, choose, read, in_any):
  """Returns (step, read(step)), where in_any(claim) tells whether a claim holds in any of those that read together."""
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
    say(f"checkpoint {step} in {_folder(stage_folder)} was deleted while it was read; its successor is taken")


def _is_deleted(stage_folder, step):
  """Whether a checkpoint is gone, or soon is where a run is at work."""
  folder, file = _folder(stage_folder) / str(step), locations.to_path(stage_folder).parent / lock.FILE
  deadline = time.monotonic() + _DELETION_S
  while folder.exists() and file.exists() and time.monotonic() < deadline:
    time.sleep(_POLL_S)
  return not folder.exists()


def _folder(stage_folder):
  return locations.to_path(stage_folder) / checkpoint.FOLDER
