"""Orbax checkpoints: variables, optimiser and metadata as items of their own; the latest and the best are kept."""

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from tireid_jax import sharding, storage
from tireid_jax.state import TrainState

FOLDER = "checkpoints"

# Stands for "not validated at this step", below every score; Orbax warns of checkpoints without any.
NO_SCORE = -1.0

# How all processes of a run end alike. Where one has died, its part of a save that is under way will never come, and to
# wait for it would hide what has happened.
_COMMON_ENDS = (None, SystemExit, FloatingPointError)


class Checkpoints:
  """The checkpoints of a stage, in STAGE_FOLDER/checkpoints/STEP. A context manager: leaving it ends pending saves."""

  def __init__(self, stage_folder):
    # What stays: the newest, to resume from, and the best by validation. Without `best_fn` Orbax would write no scores.
    keep = checkpoint_managers.AnyPreservationPolicy(
      [
        checkpoint_managers.LatestN(1),
        checkpoint_managers.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
      ]
    )
    self._manager = ocp.CheckpointManager(
      _folder(stage_folder),
      options=ocp.CheckpointManagerOptions(preservation_policy=keep, best_fn=_score, cleanup_tmp_directories=True),
      item_names=("variables", "optimizer", "metadata"),
    )

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if jax.process_count() == 1 or kind in _COMMON_ENDS:
      self._manager.close()

  def latest_step(self):
    """Returns the newest complete checkpoint's step, or None."""
    return self._manager.latest_step()

  def save(self, state, metadata, score=None):
    """Starts saving; returns once the state may be given away. Saves of one step are one save.

    Args:
      state: TrainState.
      metadata: JSON data.
      score: of the validation split, higher is better; None where it was not validated at this step.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        variables=ocp.args.StandardSave(_without_empty(state.variables)),
        optimizer=ocp.args.StandardSave(state.optimizer),
        metadata=ocp.args.JsonSave(metadata),
      ),
      metrics={"score": NO_SCORE if score is None else score},
    )

  def wait(self):
    """Returns once everything is on disk."""
    self._manager.wait_until_finished()

  def restore(self, state):
    """Returns (TrainState of the newest checkpoint, its metadata).

    Args:
      state: abstract TrainState with the shardings it shall have.

    Raises:
      ValueError: it is of an earlier version.
    """
    step = self.latest_step()
    assert step is not None  # the caller asked latest_step
    with _reader(self._manager.directory) as manager:
      _check_layout(manager.item_metadata(step)["variables"], self._manager.directory)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        variables=ocp.args.StandardRestore(_without_empty(state.variables)),
        optimizer=ocp.args.StandardRestore(state.optimizer),
        metadata=ocp.args.JsonRestore(),
      ),
    )
    variables = {**state.variables, **restored.variables}
    count = sharding.put_tree(jax.numpy.int32(step), state.step.sharding)
    return TrainState(count, variables, restored.optimizer), restored.metadata


def _folder(stage_folder):
  return storage.absolute(storage.to_path(stage_folder)) / FOLDER


def _score(metrics):
  return metrics["score"]


def _without_empty(variables):
  # An empty collection (a model without prompts) has nothing to write.
  return {name: tree for name, tree in variables.items() if tree}


def chosen_step(stage_folder):
  """Returns the step of the best checkpoint by validation, or of the newest where none was validated; None if empty."""
  folder = _folder(stage_folder)
  if not folder.is_dir():
    return None
  with _reader(folder) as manager:
    metrics = {step: manager.metrics(step) for step in manager.all_steps()}
  # One without was being deleted when its run was killed.
  scores = {step: found["score"] for step, found in metrics.items() if found}
  # The later of two equal scores, as the policy that keeps checkpoints has it; the newest where none has a score.
  return max(scores, key=lambda step: (scores[step], step), default=None)


def restore_variables(stage_folder, step, mesh):
  """Returns (variables, metadata) of a checkpoint, straight onto `mesh`, whatever mesh wrote it.

  Raises:
    ValueError: it is of an earlier version.
  """
  with _reader(_folder(stage_folder)) as manager:
    stored = manager.item_metadata(step)["variables"]
    _check_layout(stored, manager.directory)
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(stored))
    abstract = jax.tree.map(
      lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
      abstract,
      sharding.tree_shardings(mesh, abstract),
    )
    restored = manager.restore(
      step, args=ocp.args.Composite(variables=ocp.args.StandardRestore(abstract), metadata=ocp.args.JsonRestore())
    )
  return {"prompts": {}, **restored["variables"]}, restored["metadata"]


def _check_layout(stored, folder):
  """Raises ValueError for variables of the versions that kept the last block of an encoder with the others."""
  names = {key.key for path, _ in jax.tree_util.tree_leaves_with_path(dict(stored)) for key in path}
  if "blocks" in names and "last_block" not in names:
    raise ValueError(f"the checkpoints in {folder} are of an earlier version; train this stage anew in another workdir")


def read_metadata(stage_folder, step):
  """Returns the metadata of a checkpoint, without its arrays."""
  with _reader(_folder(stage_folder)) as manager:
    return manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]


def _reader(folder):
  """Returns a manager that deletes nothing."""
  return ocp.CheckpointManager(
    folder,
    options=ocp.CheckpointManagerOptions(create=False, best_fn=_score),
    item_names=("variables", "optimizer", "metadata", "metrics"),
    item_handlers={
      "variables": ocp.StandardCheckpointHandler(),
      "optimizer": ocp.StandardCheckpointHandler(),
      "metadata": ocp.JsonCheckpointHandler(),
      "metrics": ocp.JsonCheckpointHandler(),
    },
  )
