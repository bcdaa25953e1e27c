"""The folder of a stage's checkpoints, and their validation scores, which select the best, even if some are damaged."""

import contextlib
import json

import orbax.checkpoint as ocp

from tireid_jax.errors import UserError, naming
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, locations
from tireid_jax.storage.locations import Path
from tireid_jax.terminal.progress import log_line
from tireid_jax.workdir import digests, orbax_errors

FOLDER = "checkpoints"

# Attempts to list the steps if one is deleted in the meantime.
_LISTINGS = 5


def folder_of(stage_folder: str | Path) -> Path:
  """Returns STAGE_FOLDER/checkpoints, absolute."""
  return locations.absolute(locations.to_path(stage_folder)) / FOLDER


def open_reader(folder: Path) -> ocp.CheckpointManager:
  """Returns a read-only CheckpointManager of a folder of checkpoints."""
  for _ in range(_LISTINGS):
    with contextlib.suppress(FileNotFoundError):  # a step was deleted after it was listed
      return _open_reader(folder)
  return _open_reader(folder)


def _open_reader(folder):
  return ocp.CheckpointManager(
    folder,
    # Otherwise it reads the scores of all checkpoints and fails if one is damaged, and it synchronizes all processes,
    # although sometimes process 0 alone reads.
    options=ocp.CheckpointManagerOptions(create=False, lightweight_initialize=True, save_root_metadata=False),
    item_names=("variables", "optimizer", "metadata", "metrics"),
    item_handlers={
      "variables": ocp.StandardCheckpointHandler(),
      "optimizer": ocp.StandardCheckpointHandler(),
      "metadata": ocp.JsonCheckpointHandler(),
      "metrics": ocp.JsonCheckpointHandler(),
    },
  )


def best_step(scores: dict[int, float]) -> int | None:
  """Returns the step with the best score, or None if there are no scores.

  Of equal scores the later step wins, as in Orbax's preservation policy: the newest step if none was validated.
  """
  return max(scores, key=lambda step: (scores[step], step), default=None)


def read(stage_folder: str | Path) -> tuple[dict[int, float], dict[int, str]]:
  """Returns ({step: score}, {step: what is wrong with its score file}).

  If that file is damaged or missing, the score comes from the digests. If they lack it too, a missing file belongs to a
  checkpoint that was being deleted when its run was killed, which has no score any more; a damaged one counts as the
  best, so that it is reported and no other checkpoint is used as the best.
  """
  scores: dict[int, float] = {}
  wrong: dict[int, str] = {}
  folder = folder_of(stage_folder)
  if not folder.is_dir():
    return scores, wrong
  with open_reader(folder) as manager:
    steps = manager.all_steps()
  for step in steps:
    with naming(_file(folder, step)):
      try:
        scores[step] = float(json.loads(_file(folder, step).read_text())["score"])
      except orbax_errors.DAMAGE as error:
        if not orbax_errors.is_damage(error):
          raise
        known = digests.score(stage_folder, step)
        if known is not None or _file(folder, step).exists():
          scores[step] = float("inf") if known is None else known
          wrong[step] = f"{_file(folder, step).name}: {orbax_errors.summary(error)}"
  if steps and not scores:
    raise UserError(f"the checkpoints in {folder} are damaged: none has a score; put back a copy of one")
  return scores, wrong


def check(stage_folder: str | Path) -> None:
  """Raises UserError if the score of a checkpoint cannot be read; the newest is deleted instead.

  Orbax reads all scores when it opens a folder for writing, and would fail or forget which checkpoint was the best.
  Every process calls this; process 0 alone reads and deletes.
  """
  distributed.run_on_first(lambda: _check(stage_folder))


def _check(stage_folder):
  scores, wrong = read(stage_folder)
  newest, best, folder = max(scores, default=None), best_step(scores), folder_of(stage_folder)
  if newest in wrong and len(scores) > 1:
    log_line(f"checkpoint {newest} in {folder} is damaged ({wrong.pop(newest)}); resuming from the one before")
    digests.forget(stage_folder, [newest])
    files.remove_folder(folder / str(newest))
  for step, fault in wrong.items():
    if step == best or _file(folder, step).exists():  # others without a score were being deleted
      raise UserError(f"the checkpoint {folder / str(step)} is damaged: {fault}; {orbax_errors.REMEDY}")


def _file(folder, step):
  """Returns the file to which Orbax writes a score."""
  return folder / str(step) / "metrics" / "metrics"
