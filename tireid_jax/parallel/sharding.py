"""One table that says along which axes of the mesh weights and activations are split."""

import functools
import math
import re

import jax
import numpy as np
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from tireid_jax.errors import UserError
from tireid_jax.parallel.mesh import AXES as AXES
from tireid_jax.parallel.mesh import make_mesh as make_mesh

# Weights. End of a leaf's path: mesh axis of each dimension. The first that matches holds; what matches none is whole
# on each device, as the patch embedding: few weights in a large product, which XLA would compute part by part. The
# moments of the optimiser have the paths of their weights at the end of their own, so they follow. Stacked blocks have
# the block first, before what is said here of one.
RULES = (
  (r"block/attn/(query|key|value)/kernel", ("fsdp", "model")),
  (r"block/attn/(query|key|value)/bias", ("model",)),
  (r"block/attn/out/kernel", ("model", "fsdp")),
  (r"block/fc/kernel", ("fsdp", "model")),
  (r"block/fc/bias", ("model",)),
  (r"block/proj/kernel", ("model", "fsdp")),
  (r"token_embedding/embedding", (None, "fsdp")),
  (r"projection/kernel", ("fsdp", None)),
  (r"id_head/kernel", ("fsdp", "model")),
  (r"prompts/.*/tokens", (None, None, "fsdp")),
)

# Inputs and activations. Kind: mesh axes of each dimension from the first; those without are whole on each device.
ACTIVATIONS = {
  # The batch, the embeddings, what goes from block to block.
  "rows": (("data", "fsdp"),),
  # Reading the token table, whose columns are split along fsdp, each device reads its columns for the rows of all that
  # share them; then columns are exchanged for rows.
  "lookup": ("data",),
  "looked_up": ("data", None, "fsdp"),
}


def tree_shardings(mesh, tree):
  """Returns the NamedSharding of each leaf, by `RULES`; an axis that does not divide its dimension is left out.

  What is left out is logged, once for each rule and size.
  """

  def leaf_sharding(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    is_stacked = "blocks/" in name
    rule, axes = _rule(name.replace("blocks/", "block/"))
    axes = (None,) * is_stacked + axes
    if len(axes) != len(leaf.shape):
      return replicated(mesh)
    where = _fitting(mesh, axes, leaf.shape)
    for size, axis, kept in zip(leaf.shape, axes, where.spec, strict=True):
      if axis != kept:
        _log_dropped(rule, axis, mesh.shape[axis], size)
    return where

  return jax.tree_util.tree_map_with_path(leaf_sharding, tree)


def _rule(path):
  """Returns (what the first of `RULES` that matches found in the path, its axes), ("", ()) where none does."""
  found = ((re.search(f"{rule}$", path), axes) for rule, axes in RULES)
  return next(((match[0], axes) for match, axes in found if match), ("", ()))


@functools.cache
def _log_dropped(weight, axis, num_devices, size):
  """Logs, the first time in this process, that a rule does not hold for a weight and what has its path."""
  logging.warning(
    "sharding: %s is not split over the %d devices along %s, which do not divide its dimension of %d",
    weight, num_devices, axis, size,
  )  # fmt: skip


def _fitting(mesh, axes, shape):
  """Returns the NamedSharding of an array of this shape, without the axes that do not divide their dimension."""

  fitting = []
  for axis, size in zip(axes, shape, strict=False):
    names = (axis,) if isinstance(axis, str) else axis or ()
    fitting.append(axis if size % math.prod(mesh.shape[name] for name in names) == 0 else None)
  return NamedSharding(mesh, PartitionSpec(*fitting))


def batch_sharding(mesh):
  """Returns the NamedSharding of an array whose first dimension is the batch."""
  return NamedSharding(mesh, PartitionSpec(*ACTIVATIONS["rows"]))


def replicated(mesh):
  """Returns the NamedSharding of an array that every device has whole."""
  return NamedSharding(mesh, PartitionSpec())


def activation_constraint(mesh):
  """Returns f(array, kind of ACTIVATIONS) -> the same array, split as the table says; for the inside of a program.

  Left to itself, XLA splits activations as it finds the weights split along fsdp, with the whole batch on each device,
  and adds up partial sums of whole batches between devices.
  """

  def place(array, kind):
    return jax.lax.with_sharding_constraint(array, _fitting(mesh, ACTIVATIONS[kind], array.shape))

  return place


def gather_weights(mesh):
  """Returns f(path, weight of a block, dtype) -> the same in that type, whole along fsdp; for the inside of a program.

  The path is that below the block, as "attn/query/kernel". Its gradient, too, is made as a whole, and the devices keep
  their parts of the sum. None where nothing is split along fsdp. Left to itself, XLA multiplies part after part while
  the next is on its way, and a sixteenth of a weight is too thin for the units of a TPU (docs/scaling.md).
  """
  if mesh.shape["fsdp"] == 1:
    return None

  def gather(path, weight, dtype):
    _, axes = _rule(f"block/{path}")
    if "fsdp" not in axes:
      return weight
    kept = _fitting(mesh, axes, weight.shape)
    used = _fitting(mesh, [None if axis == "fsdp" else axis for axis in axes], weight.shape)
    return _moved(kept, used)(weight.astype(dtype))

  return gather


def _moved(kept, used):
  """Returns f(array of one sharding) -> the same array of another, whose gradient goes the way back."""
  constrain = jax.lax.with_sharding_constraint

  @jax.custom_vjp
  def move(array):
    return constrain(array, used)

  move.defvjp(lambda array: (move(array), None), lambda _, gradient: (constrain(constrain(gradient, used), kept),))
  return move


def platform(mesh):
  """Returns "cpu", "gpu" or "tpu", of the devices of a mesh."""
  return mesh.devices.flat[0].platform


def batch_devices(mesh):
  """Returns over how many devices the batch is split."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(field, batch_size, mesh, captions_per_image=1):
  """Raises ValueError if the batch, images with all their captions, cannot be split evenly over the mesh."""
  multiple = batch_devices(mesh) * captions_per_image
  if batch_size % multiple:
    shares = f" into whole images of {captions_per_image} captions" if captions_per_image > 1 else ""
    raise UserError(
      f"{field} is {batch_size}, which the {batch_devices(mesh)} devices along data and fsdp do not divide{shares}; "
      f"set --config.{field} to a multiple of {multiple}"
    )


def process_batch_indices(mesh, batch_size, *, process=None):
  """Returns i64[R], ascending: the rows of a batch that the devices of a process hold, and `put_batch` takes.

  Args:
    mesh: Mesh.
    batch_size: B.
    process: its index; this process by default.
  """
  process = jax.process_index() if process is None else process
  held = batch_sharding(mesh).devices_indices_map((batch_size,))
  rows = [np.arange(batch_size)[rows] for device, (rows,) in held.items() if device.process_index == process]
  return np.unique(np.concatenate(rows))


def put_batch(mesh, batch):
  """Returns the dict of arrays of a global batch, of which this process gives its own rows, on their devices."""
  devices = batch_devices(mesh)
  num_parts = len(process_batch_indices(mesh, devices))

  def put(array):
    shape = (len(array) // num_parts * devices, *array.shape[1:])
    return jax.make_array_from_process_local_data(batch_sharding(mesh), array, shape)

  return {name: put(array) for name, array in batch.items()}


def put_tree(tree, shardings):
  """Returns a tree of arrays as a tree of shardings says; they are on a mesh already, or whole in every process."""

  def put(leaf, where):
    if where.is_fully_addressable or not leaf.is_fully_addressable:
      return jax.device_put(leaf, where)
    # device_put would gather the whole leaf from every process, to compare.
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, where, lambda index: whole[index])

  return jax.tree.map(put, tree, shardings)
