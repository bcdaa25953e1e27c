"""The dump of a step that came to values which are not finite: what it started from, to be run again by `replay`.

It lies in STAGE_FOLDER/diverged/STEP, where STEP counts the steps before it, and is committed whole. A run keeps no
copy of its state, which would take as much memory again. So the state is found again from the last checkpoint, by the
steps since then: on CPUs, and with config.deterministic on GPUs, it has the same bits.
"""

import contextlib

import jax
import orbax.checkpoint as ocp

from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import sharding
from tireid_jax.storage import locations
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import orbax_errors

FOLDER = "diverged"
# Of the batch, as many are named in the message; the dump has all.
_NUM_NAMED = 16


def write(stage_folder, state, batch, metadata):
  """Writes a dump and returns its folder; an earlier one of the stage goes. Every process calls it alike.

  Args:
    stage_folder: of the run.
    state: TrainState before the step.
    batch: of the step, on the devices.
    metadata: JSON data.
  """
  folder, step = locations.absolute(locations.to_path(stage_folder)) / FOLDER, int(state.step)
  options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=False)
  with ocp.CheckpointManager(folder, options=options) as manager:
    if step in manager.all_steps():  # of a run that went on and came to the same
      manager.delete(step)
    manager.save(
      step,
      args=ocp.args.Composite(
        variables=ocp.args.StandardSave({name: tree for name, tree in state.variables.items() if tree}),
        optimizer=ocp.args.StandardSave(state.optimizer),
        batch=ocp.args.StandardSave(batch),
        metadata=ocp.args.JsonSave(metadata),
      ),
    )
  return folder / str(step)


def read_metadata(folder):
  """Returns the metadata of a dump.

  Raises:
    FileNotFoundError, ValueError: that is no dump, or a damaged one.
  """
  with _open(folder) as (manager, step):
    return manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]


def read(folder, mesh, shapes):
  """Returns (TrainState before the step, batch) of a dump, on a mesh.

  Args:
    folder: of the dump.
    mesh: Mesh.
    shapes: abstract TrainState with shardings, as Program has it.
  """
  with _open(folder) as (manager, step):
    stored = manager.item_metadata(step)["batch"]
    batch = {
      name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.batch_sharding(mesh))
      for name, leaf in dict(stored).items()
    }
    restored = manager.restore(
      step,
      args=ocp.args.Composite(
        variables=ocp.args.StandardRestore({name: tree for name, tree in shapes.variables.items() if tree}),
        optimizer=ocp.args.StandardRestore(shapes.optimizer),
        batch=ocp.args.StandardRestore(batch),
      ),
    )
  count = sharding.put_tree(jax.numpy.int32(step), shapes.step.sharding)
  return TrainState(count, {**shapes.variables, **restored["variables"]}, restored["optimizer"]), restored["batch"]


@contextlib.contextmanager
def _open(folder):
  """Yields (manager, step) of a dump; raises ValueError if it is none, or damaged."""
  folder = locations.absolute(locations.check(locations.to_path(folder, "DUMP")))
  if not folder.is_dir():
    raise MissingFileError(f"there is no folder {folder}; give a dump, as WORKDIR/stage1/{FOLDER}/STEP")
  if not folder.name.isdigit() or folder.parent.name != FOLDER:
    raise UserError(f"{folder} is no dump of a step; give one, as WORKDIR/stage1/{FOLDER}/STEP")
  arrays = {name: ocp.StandardCheckpointHandler() for name in ("variables", "optimizer", "batch")}
  handlers = {**arrays, "metadata": ocp.JsonCheckpointHandler()}
  with (
    orbax_errors.restoring(folder, "run the command that wrote it again"),
    ocp.CheckpointManager(
      folder.parent,
      options=ocp.CheckpointManagerOptions(create=False),
      item_names=tuple(handlers),
      item_handlers=handlers,
    ) as manager,
  ):
    yield manager, int(folder.name)


def found_again(restore, train_step, batches, all_finite, last, is_stopped):
  """Returns the TrainState before the first step that is not finite, or None if stopped.

  Where what was restored is not finite itself, it is that.

  Args:
    restore: () -> TrainState of the last checkpoint, or of the stage's start.
    train_step, batches: as in training.
    all_finite: of the weights, as Program has it.
    last: a step, from 1, that is not finite; it is the first one but for those after which only weights were not.
    is_stopped: () -> bool, whether a signal asks to end; called after each step.
  """

  def advance(state, is_there):
    while not is_there(state):
      state, _ = train_step(state, batches(int(state.step)))
      if is_stopped():
        return None
    return state

  state = advance(restore(), lambda state: int(state.step) == last - 1)
  if state is None or all_finite(state.variables):
    return state
  del state  # before another takes as much memory
  # Of its state no copy was kept, so the steps are repeated twice: until it is lost, and up to there. Neither end need
  # come: a GPU may compute other bits this time, and what was restored may not have been finite itself.
  state = advance(restore(), lambda state: int(state.step) == last - 1 or not all_finite(state.variables))
  if state is None or all_finite(state.variables):
    return state
  first = int(state.step)
  del state
  return advance(restore(), lambda state: int(state.step) >= first - 1)


def describe(step, metrics, examples, split):
  """Returns what a message says of the step: its number, its losses and gradient norms, its examples.

  Args:
    step: its number, from 1.
    metrics: {name: float} of it.
    examples: from `pipeline.Batches.examples`.
    split: name of the data set and split.
  """
  bad = [name for name, value in metrics.items() if not jax.numpy.isfinite(value)]
  head = f"{bad[0]} is {metrics[bad[0]]}" if bad else "weights are not finite"
  values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
  rows = ", ".join(str(example["caption"]) for example in examples[:_NUM_NAMED])
  more = f" and {len(examples) - _NUM_NAMED} more" if len(examples) > _NUM_NAMED else ""
  return f"{head} at step {step} ({values}), whose batch is captions {rows}{more} of {split}"
