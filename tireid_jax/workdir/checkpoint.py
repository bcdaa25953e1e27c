"""Orbax checkpoints with separate items for variables, optimizer state and metadata.

The newest two and the best are kept. Before a checkpoint is read, its files are verified against their digests.
"""

from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint import checkpoint_managers

from tireid_jax.errors import DivergedError, UserError
from tireid_jax.parallel import distributed, sharding
from tireid_jax.storage.locations import Path
from tireid_jax.terminal.progress import log_line
from tireid_jax.workdir import checkpoint_scores, digester, digests, orbax_errors
from tireid_jax.workdir.checkpoint_scores import folder_of, open_reader

FOLDER = checkpoint_scores.FOLDER

# Score of a checkpoint without validation, below every real score; Orbax warns about checkpoints without a score.
NO_SCORE = -1.0

# Exceptions with which all processes of a run end. If one process has died, its part of a pending save will never
# arrive, and waiting for it would hide the cause.
_COMMON_ENDS = (SystemExit, DivergedError)


class Checkpoints:
  """The checkpoints of a stage, in STAGE_FOLDER/checkpoints/STEP. A context manager that waits for pending saves."""

  def __init__(self, stage_folder):
    # Preserved: the newest, to resume from; the one before, in case the newest is damaged; and the best by validation.
    # Without `best_fn`, Orbax would write no scores.
    keep = checkpoint_managers.AnyPreservationPolicy(
      [
        checkpoint_managers.LatestN(2),
        checkpoint_managers.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
      ]
    )
    self._stage_folder = stage_folder
    folder = folder_of(stage_folder)
    with orbax_errors.restoring(folder, "remove what is damaged there"), orbax_errors.saving(folder):
      checkpoint_scores.check(stage_folder)
      self._manager = ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(preservation_policy=keep, best_fn=_score, cleanup_tmp_directories=True),
        item_names=("variables", "optimizer", "metadata"),
      )
    self._digester = digester.Digester(stage_folder)

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    try:
      if jax.process_count() == 1 or kind is None or issubclass(kind, _COMMON_ENDS):
        with orbax_errors.saving(self._manager.directory):
          self._manager.close()
          self._digester.wait()
    except Exception:
      if kind is None:
        raise  # otherwise the error that ended the run takes precedence; it is most likely the failed save
    finally:
      self._digester.close()

  def latest_step(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, state: Any, metadata: dict[str, Any], score: float | None = None) -> None:
    """Starts an asynchronous save; returns once the state may be donated. A step that is saved already is skipped.

    Args:
      state: TrainState.
      metadata: JSON data.
      score: on the validation split, higher is better; None if there was no validation at this step.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    self.wait()  # the previous one is complete before an older one is deleted
    score = NO_SCORE if score is None else score
    with orbax_errors.saving(self._manager.directory):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          variables=ocp.args.StandardSave(_without_empty(state.variables)),
          optimizer=ocp.args.StandardSave(state.optimizer),
          metadata=ocp.args.JsonSave(metadata),
        ),
        metrics={"score": score},
      )
      self._digester.start(step, score, self._manager.all_steps())

  def check(self) -> None:
    """Raises the error of a failed pending save, as `wait` does, but without waiting."""
    with orbax_errors.saving(self._manager.directory):
      self._manager.check_for_errors()

  def wait(self) -> None:
    """Waits until everything is on disk, including digests; raises DiskError if the disk is full or fails."""
    with orbax_errors.saving(self._manager.directory):
      self._manager.wait_until_finished()
      self._digester.wait()

  def restore(self, state: Any) -> tuple[Any, dict[str, Any]]:
    """Returns (TrainState of the newest intact checkpoint, its metadata).

    Damaged checkpoints after it are deleted, so that the run, which resumes before them, writes them again.

    Args:
      state: abstract TrainState with the shardings to restore to.

    Raises:
      ValueError: it was written by an earlier version, or all checkpoints are damaged.
    """
    step = self._find_intact()
    with orbax_errors.restoring(
      self._manager.directory / str(step), "put back a copy of it, or remove that folder to go on from the one before"
    ):
      with open_reader(self._manager.directory) as manager:
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
    return state.replace(step=count, variables=variables, optimizer=restored.optimizer), restored.metadata

  def _find_intact(self):
    """Returns the newest intact step and deletes those after it. If all are damaged, it raises and deletes none."""
    damaged: list[tuple[int, str]] = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      fault = _fault(self._stage_folder, step)
      if not fault:
        break
      damaged.append((step, fault))
    else:
      named = "; ".join(f"{step}: {fault}" for step, fault in damaged)
      raise UserError(
        f"all checkpoints in {self._manager.directory} are damaged ({named}); put back a copy of one, or choose "
        f"another --workdir"
      )
    for newer, fault in damaged:
      log_line(f"checkpoint {newer} in {self._manager.directory} is damaged ({fault}); resuming from the one before")
      with orbax_errors.saving(self._manager.directory):
        if distributed.is_first():
          digests.forget(self._stage_folder, [newer])
        self._manager.delete(newer)
    return step


def _fault(stage_folder, step):
  """Returns what is wrong with a checkpoint, "" if no fault is found. Every process must call it."""
  folder = folder_of(stage_folder) / str(step)
  found = distributed.broadcast_from_first(lambda: digests.fault(stage_folder, step, folder))
  if found is digests.UNKNOWN:
    log_line(f"checkpoint {step} in {folder.parent} has no digests to verify it against; using it unverified")
  return found or ""


def _score(metrics):
  return metrics["score"]


def _without_empty(variables):
  # Orbax cannot write an empty collection (a model without prompts).
  return {name: tree for name, tree in variables.items() if tree}


def best_step(stage_folder: str | Path) -> int | None:
  """Returns the step of the best checkpoint by validation, of the newest if none was validated, or None without any."""
  return checkpoint_scores.best_step(checkpoint_scores.read(stage_folder)[0])


def restore_variables(stage_folder: str | Path, step: int, mesh: Mesh) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns (variables, metadata) of a checkpoint, restored directly onto `mesh` from whatever mesh wrote it.

  Raises:
    ValueError: it is damaged, or was written by an earlier version.
  """
  fault = _fault(stage_folder, step)
  if fault:
    folder = folder_of(stage_folder) / str(step)
    raise UserError(f"the checkpoint {folder} is damaged: {fault}; {orbax_errors.REMEDY}")
  with orbax_errors.restoring(folder_of(stage_folder) / str(step)), open_reader(folder_of(stage_folder)) as manager:
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
  """Raises ValueError for variables of an earlier version, which stacked an encoder's last block with the others."""
  names = {key.key for path, _ in jax.tree_util.tree_leaves_with_path(dict(stored)) for key in path}
  if "blocks" in names and "last_block" not in names:
    raise UserError(f"the checkpoints in {folder} are of an earlier version; train this stage again in another workdir")


def read_metadata(stage_folder: str | Path, step: int) -> dict[str, Any]:
  """Returns the metadata of a checkpoint without reading its arrays; raises ValueError if it is damaged."""
  folder = folder_of(stage_folder) / str(step)
  with orbax_errors.restoring(folder), open_reader(folder.parent) as manager:
    found = manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]
    if not isinstance(found, dict):
      raise TypeError("its metadata is no JSON object")
    return found


def newest_readable_metadata(stage_folder: str | Path) -> dict[str, Any]:
  """Returns the metadata of the newest checkpoint whose metadata can be read; raises ValueError if there is none."""
  with open_reader(folder_of(stage_folder)) as manager:
    steps = sorted(manager.all_steps())
  for step in reversed(steps[1:]):
    try:
      return read_metadata(stage_folder, step)
    except UserError:
      pass  # reported when the weights are restored
  return read_metadata(stage_folder, steps[0])
