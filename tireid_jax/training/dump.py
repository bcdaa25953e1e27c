"""The dump of a step that produced NaN or infinity: the state before it and its batch, for `replay` to run again.

It is in STAGE_FOLDER/diverged/STEP, where STEP counts the steps before it, and is committed as a whole.
"""

import contextlib
import os
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils.epath import Path
from jax.sharding import Mesh

from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import sharding
from tireid_jax.storage import locations
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import orbax_errors

FOLDER = "diverged"


def write(stage_folder: str | os.PathLike, state: TrainState, batch: dict, metadata: dict[str, Any]) -> Path:
  """Writes a dump and returns its folder; deletes an earlier one of the stage. Every process calls it alike.

  Args:
    stage_folder: of the run.
    state: TrainState before the step.
    batch: of the step, on the devices.
    metadata: JSON data.
  """
  folder, step = locations.absolute(locations.to_path(stage_folder)) / FOLDER, int(state.step)
  options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=False)
  with ocp.CheckpointManager(folder, options=options) as manager:
    if step in manager.all_steps():  # a resumed run reached the same step again
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


def read_metadata(folder: str | os.PathLike) -> dict[str, Any]:
  """Returns the metadata of a dump.

  Raises:
    MissingFileError, UserError: the folder is not a dump, or is damaged.
  """
  with _open(folder) as (manager, step):
    return manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]


def read(folder: str | os.PathLike, mesh: Mesh, shapes: TrainState) -> tuple[TrainState, dict]:
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
  """Yields (manager, step) of a dump; raises UserError if it is damaged, or not a dump."""
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
