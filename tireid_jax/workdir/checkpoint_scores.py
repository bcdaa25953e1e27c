"""Where the checkpoints of a stage lie, and their scores, by which the best is chosen; also where some are damaged."""

import contextlib
import json

import orbax.checkpoint as ocp

from tireid_jax.errors import UserError, naming
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, locations
from tireid_jax.terminal.progress import say
from tireid_jax.workdir import digests, orbax_errors

FOLDER = "checkpoints"

# How often steps are listed again when one vanishes meanwhile.
_LISTINGS = 5


def folder_of(stage_folder):
  """Returns STAGE_FOLDER/checkpoints, absolute."""
  return locations.absolute(locations.to_path(stage_folder)) / FOLDER


def open_reader(folder):
  """Returns a manager of a folder of checkpoints that deletes nothing."""
  for _ in range(_LISTINGS):
    with contextlib.suppress(FileNotFoundError):  # of a step that was deleted between its listing and a look at it
      return _open_reader(folder)
  return _open_reader(folder)


def _open_reader(folder):
  return ocp.CheckpointManager(
    folder,
    # Otherwise it reads the scores of all checkpoints, and fails if one is damaged; and all processes would wait for
    # each other here, though at times process 0 alone reads.
    options=ocp.CheckpointManagerOptions(create=False, lightweight_initialize=True, save_root_metadata=False),
    item_names=("variables", "optimizer", "metadata", "metrics"),
    item_handlers={
      "variables": ocp.StandardCheckpointHandler(),
      "optimizer": ocp.StandardCheckpointHandler(),
      "metadata": ocp.JsonCheckpointHandler(),
      "metrics": ocp.JsonCheckpointHandler(),
    },
  )


def best_step(scores):
  """Returns the step of the best score, None of none.

  Of equal scores it is that of the later, as the policy that keeps checkpoints has it; so it is the newest where no
  step was validated.
  """
  return max(scores, key=lambda step: (scores[step], step), default=None)


def read(stage_folder):
  """Returns ({step: score}, {step: what is wrong with the file of its score}).

  Where that file is damaged or missing, the digests tell the score. Where they do not, either, a missing one is of a
  checkpoint that was being deleted when its run was killed, which has no score any more; a damaged one counts as the
  best, so that it is named and no other is taken for the best.
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


def check(stage_folder):
  """Raises UserError if the score of a checkpoint cannot be read; the newest is deleted instead, with a line.

  Orbax, which reads the scores of all when it opens a folder to write, would fail or forget which was the best. Every
  process calls it alike; process 0 looks, since what it deletes others would no longer find.
  """
  distributed.run_on_first(lambda: _check(stage_folder))


def _check(stage_folder):
  scores, wrong = read(stage_folder)
  newest, best, folder = max(scores, default=None), best_step(scores), folder_of(stage_folder)
  if newest in wrong and len(scores) > 1:
    say(f"checkpoint {newest} in {folder} is damaged ({wrong.pop(newest)}); the one before is taken")
    digests.forget(stage_folder, [newest])
    files.remove_folder(folder / str(newest))
  for step, fault in wrong.items():
    if step == best or _file(folder, step).exists():  # others without a score were being deleted
      raise UserError(f"the checkpoint {folder / str(step)} is damaged: {fault}; {orbax_errors.REMEDY}")


def _file(folder, step):
  """Returns the file in which Orbax writes a score."""
  return folder / str(step) / "metrics" / "metrics"
