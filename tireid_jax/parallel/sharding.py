"""Sharding rules: which mesh axes split which dimensions of weights and activations."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tireid_jax.errors import UserError
from tireid_jax.parallel.mesh import AXES as AXES
from tireid_jax.parallel.mesh import make_mesh as make_mesh

# Weights: (regular expression for the end of a leaf's path, mesh axis of each dimension). The first match applies; a
# leaf without a match is replicated, as is the patch embedding: few weights in a large product, which XLA would compute
# piece by piece. Optimizer moments are sharded like their weights, since their paths end alike. Stacked blocks have one
# more dimension, in front, which is not split.
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

# Inputs and activations. {layout: mesh axes of the leading dimensions}; the other dimensions are not split.
ACTIVATIONS = {
  # Inputs, embeddings, and the activations between blocks.
  "batch": (("data", "fsdp"),),
  # Token ids before, and token embeddings after, the embedding lookup. The embedding table is split along its width
  # over fsdp: each device looks up its columns for all examples of its fsdp group, then an all-to-all exchanges
  # columns for examples.
  "batch_over_data": ("data",),
  "width_over_fsdp": ("data", None, "fsdp"),
}


def tree_shardings(mesh: Mesh, tree: Any) -> Any:
  """Returns the NamedSharding of each leaf, by `RULES`, without axes whose size does not divide the dimension.

  Each rule and size for which an axis is dropped is logged once.
  """

  def leaf_sharding(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    is_stacked = "blocks/" in name
    rule, axes = _rule(name.replace("blocks/", "block/"))
    axes = (None,) * is_stacked + axes
    if len(axes) != len(leaf.shape):
      return replicated(mesh)
    fitting = _fitting(mesh, axes, leaf.shape)
    for size, axis, kept in zip(leaf.shape, axes, fitting.spec, strict=True):
      if axis != kept:
        _log_dropped(rule, axis, mesh.shape[axis], size)
    return fitting

  return jax.tree_util.tree_map_with_path(leaf_sharding, tree)


def _rule(path):
  """Returns (matched text, axes) of the first of `RULES` that matches a path; ("", ()) if none does."""
  found = ((re.search(f"{rule}$", path), axes) for rule, axes in RULES)
  return next(((match[0], axes) for match, axes in found if match), ("", ()))


@functools.cache
def _log_dropped(weight, axis, num_devices, size):
  """Logs once per process that an axis of a rule is dropped for a weight and its optimizer moments."""
  logging.warning(
    "sharding: %s is not split over the %d devices along %s, which do not divide its dimension of %d",
    weight, num_devices, axis, size,
  )  # fmt: skip


def _fitting(mesh, axes, shape):
  """Returns the NamedSharding of an array of this shape, without axes whose size does not divide the dimension."""
  fitting = []
  for axis, size in zip(axes, shape, strict=False):
    names = (axis,) if isinstance(axis, str) else axis or ()
    fitting.append(axis if size % math.prod(mesh.shape[name] for name in names) == 0 else None)
  return NamedSharding(mesh, PartitionSpec(*fitting))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the NamedSharding of an array whose first dimension is the batch."""
  return NamedSharding(mesh, PartitionSpec(*ACTIVATIONS["batch"]))


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the NamedSharding of an array that every device holds in full."""
  return NamedSharding(mesh, PartitionSpec())


def activation_constraint(mesh: Mesh) -> Callable[[jax.Array, str], jax.Array]:
  """Returns f(array, layout) -> the array with the sharding constraint of `ACTIVATIONS`; for use under jit.

  Without it, XLA shards activations like the weights along fsdp, with the whole batch on each device, and all-reduces
  partial sums of whole batches.
  """

  def constrain(array, layout):
    return jax.lax.with_sharding_constraint(array, _fitting(mesh, ACTIVATIONS[layout], array.shape))

  return constrain


def gather_weights(mesh: Mesh) -> Callable[[str, jax.Array, Any], jax.Array] | None:
  """Returns f(path, weight, dtype) -> the weight of a block, cast and all-gathered along fsdp; None without fsdp.

  For use under jit. The path is relative to the block, as "attn/query/kernel". The gradient is computed in full, then
  reduce-scattered. Without it, XLA multiplies shard by shard while it transfers the next, and a sixteenth of a weight
  is too small for the matrix units of a TPU (docs/scaling.md).
  """
  if mesh.shape["fsdp"] == 1:
    return None

  def gather(path, weight, dtype):
    _, axes = _rule(f"block/{path}")
    if "fsdp" not in axes:
      return weight
    stored = _fitting(mesh, axes, weight.shape)
    used = _fitting(mesh, [None if axis == "fsdp" else axis for axis in axes], weight.shape)
    return _resharded(stored, used)(weight.astype(dtype))

  return gather


def _resharded(stored, used):
  """Returns f(array sharded as `stored`) -> the array sharded as `used`; the gradient is resharded back."""
  constrain = jax.lax.with_sharding_constraint

  @jax.custom_vjp
  def move(array):
    return constrain(array, used)

  move.defvjp(lambda array: (move(array), None), lambda _, gradient: (constrain(constrain(gradient, used), stored),))
  return move


def platform(mesh: Mesh) -> str:
  """Returns the platform of a mesh: "cpu", "gpu" or "tpu"."""
  return mesh.devices.flat[0].platform


def batch_devices(mesh: Mesh) -> int:
  """Returns the number of devices that the batch is split over."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(field: str, batch_size: int, mesh: Mesh, captions_per_image: int = 1) -> None:
  """Raises ValueError if a batch cannot be split evenly over the mesh, each image with all its captions."""
  multiple = batch_devices(mesh) * captions_per_image
  if batch_size % multiple:
    unit = f" into whole images of {captions_per_image} captions" if captions_per_image > 1 else ""
    raise UserError(
      f"{field} is {batch_size}, which the {batch_devices(mesh)} devices along data and fsdp do not divide{unit}; "
      f"set --config.{field} to a multiple of {multiple}"
    )


def process_batch_indices(mesh: Mesh, batch_size: int, *, process: int | None = None) -> np.ndarray:
  """Returns i64[n], ascending: indices of the examples that the devices of a process hold and `put_batch` takes.

  Args:
    mesh: Mesh.
    batch_size: B.
    process: index of the process; this one by default.
  """
  process = jax.process_index() if process is None else process
  held: Mapping[Any, Any] = batch_sharding(mesh).devices_indices_map((batch_size,))
  parts = [np.arange(batch_size)[part] for device, (part,) in held.items() if device.process_index == process]
  return np.unique(np.concatenate(parts))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
  """Returns a global batch on its devices, to which each process contributes the examples of its own."""
  devices = batch_devices(mesh)
  num_parts = len(process_batch_indices(mesh, devices))

  def put(array):
    shape = (len(array) // num_parts * devices, *array.shape[1:])
    return jax.make_array_from_process_local_data(batch_sharding(mesh), array, shape)

  return {name: put(array) for name, array in batch.items()}


def put_tree(tree: Any, shardings: Any) -> Any:
  """Returns a tree of arrays with the given shardings; each is on a mesh already, or complete in every process."""

  def put(leaf, target):
    if target.is_fully_addressable or not leaf.is_fully_addressable:
      return jax.device_put(leaf, target)
    # device_put would gather the whole leaf from every process to check that all have the same values.
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, target, lambda index: whole[index])

  return jax.tree.map(put, tree, shardings)
