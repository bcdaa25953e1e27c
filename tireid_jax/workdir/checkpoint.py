"""Orbax checkpoints: variables, optimiser and metadata as items of their own; the newest two and the best are kept.

A checkpoint is compared with the digests of its files before it is read.
"""

import concurrent.futures
import threading
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from tireid_jax.errors import DivergedError, UserError
from tireid_jax.parallel import distributed, sharding
from tireid_jax.terminal.progress import say
from tireid_jax.workdir import checkpoint_scores, digests, orbax_errors
from tireid_jax.workdir.checkpoint_scores import folder_of, open_reader

FOLDER = checkpoint_scores.FOLDER

# Stands for "not validated at this step", below every score; Orbax warns of checkpoints without any.
NO_SCORE = -1.0

# What Orbax writes into a checkpoint last, and how often it is looked for.
_COMMITTED = "commit_success.txt"
_POLL_S = 0.1

# How all processes of a run end alike. Where one has died, its part of a save that is under way will never come, and to
# wait for it would hide what has happened.
_COMMON_ENDS = (SystemExit, DivergedError)


class Checkpoints:
  """The checkpoints of a stage, in STAGE_FOLDER/checkpoints/STEP. A context manager: leaving it ends pending saves."""

  def __init__(self, stage_folder):
    # What stays: the newest, to resume from, the one before, should that be damaged, and the best by validation.
    # Without `best_fn` Orbax would write no scores.
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
    self._digester = _Digester(stage_folder)

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
        raise  # otherwise what ended the run goes first; a failed save has most likely been that
    finally:
      self._digester.close()

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
    self.wait()  # the one before is verified before an older one goes
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

  def check(self):
    """Raises what has ended a save that is under way, as `wait` would, without waiting for it."""
    with orbax_errors.saving(self._manager.directory):
      self._manager.check_for_errors()

  def wait(self):
    """Returns once everything is on disk, digests included; raises DiskError where the disk is full or the like."""
    with orbax_errors.saving(self._manager.directory):
      self._manager.wait_until_finished()
      self._digester.wait()

  def restore(self, state):
    """Returns (TrainState of the newest checkpoint that is not damaged, its metadata).

    One that is damaged is deleted, so that the run, which goes on from the one before, writes it again.

    Args:
      state: abstract TrainState with the shardings it shall have.

    Raises:
      ValueError: it is of an earlier version, or there is none that is not damaged.
    """
    step = self._find_sound()
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

  def _find_sound(self):
    """Returns the newest step that is not damaged; deletes those after it. Where all are damaged, none is deleted."""
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
      say(f"checkpoint {newer} in {self._manager.directory} is damaged ({fault}); the one before is taken")
      with orbax_errors.saving(self._manager.directory):
        if distributed.is_first():
          digests.forget(self._stage_folder, [newer])
        self._manager.delete(newer)
    return step


class _Digester:
  """Writes the digests of a checkpoint in a thread of its own, once it is committed."""

  def __init__(self, stage_folder):
    self._stage_folder = stage_folder
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._is_committed, self._is_closed = threading.Event(), False
    self._pending: Any = None

  def start(self, step, score, kept):
    """Begins with a step and its score; digests of others than `kept` are dropped."""
    if distributed.is_first():
      digests.forget(self._stage_folder, [step, *(set(digests.known_steps(self._stage_folder)) - set(kept))])
      self._is_committed.clear()
      self._pending = self._thread.submit(self._write, step, score)

  def _write(self, step, score):
    folder = folder_of(self._stage_folder) / str(step)
    while not (folder / _COMMITTED).is_file() and not self._is_committed.wait(_POLL_S):
      pass
    if not self._is_closed:
      digests.write(self._stage_folder, step, folder, score)

  def wait(self):
    """Returns once they are written; called when the checkpoint is committed."""
    self._is_committed.set()
    pending, self._pending = self._pending, None
    if pending:
      pending.result()

  def close(self):
    """Ends the thread; what is not committed by now gets no digests."""
    self._is_closed = True
    self._is_committed.set()
    self._thread.shutdown()


def _fault(stage_folder, step):
  """Returns what is wrong with a checkpoint, "" where nothing is known to be; every process asks."""
  folder = folder_of(stage_folder) / str(step)
  found = distributed.broadcast_from_first(lambda: digests.fault(stage_folder, step, folder))
  if found is digests.UNKNOWN:
    say(f"checkpoint {step} in {folder.parent} has no digests to compare with; it is taken as it is")
  return found or ""


def _score(metrics):
  return metrics["score"]


def _without_empty(variables):
  # An empty collection (a model without prompts) has nothing to write.
  return {name: tree for name, tree in variables.items() if tree}


def best_step(stage_folder):
  """Returns the step of the best checkpoint by validation, or of the newest where none was validated; None if empty."""
  return checkpoint_scores.best_step(checkpoint_scores.read(stage_folder)[0])


def restore_variables(stage_folder, step, mesh):
  """Returns (variables, metadata) of a checkpoint, straight onto `mesh`, whatever mesh wrote it.

  Raises:
    ValueError: it is damaged, or of an earlier version.
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
  """Raises ValueError for variables of the versions that kept the last block of an encoder with the others."""
  names = {key.key for path, _ in jax.tree_util.tree_leaves_with_path(dict(stored)) for key in path}
  if "blocks" in names and "last_block" not in names:
    raise UserError(f"the checkpoints in {folder} are of an earlier version; train this stage anew in another workdir")


def read_metadata(stage_folder, step):
  """Returns the metadata of a checkpoint, without its arrays; raises ValueError if they are damaged."""
  folder = folder_of(stage_folder) / str(step)
  with orbax_errors.restoring(folder), open_reader(folder.parent) as manager:
    found = manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]
    if not isinstance(found, dict):
      raise TypeError("its metadata are no JSON object")
    return found


def newest_readable_metadata(stage_folder):
  """Returns the metadata of the newest checkpoint that has any; raises ValueError if none has."""
  with open_reader(folder_of(stage_folder)) as manager:
    steps = sorted(manager.all_steps())
  for step in reversed(steps[1:]):
    try:
      return read_metadata(stage_folder, step)
    except UserError:
      pass  # named when the weights are restored
  return read_metadata(stage_folder, steps[0])
