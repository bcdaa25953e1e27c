"""Checks that run in each of several processes: `python -m tests.sharing` with the flags of
tireid_jax.parallel.distributed.

Prints a line for each check that passed.
"""

import json
import os
import pathlib
import tempfile

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType, Mesh

from tireid_jax import cli
from tireid_jax.parallel import distributed, sharding
from tireid_jax.storage import compilation_cache, lock
from tireid_jax.workdir import layout

BATCH_SIZE, CAPTIONS_PER_IMAGE = 16, 2
MESHES = ((8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8))


def main(_):
  distributed.initialize(flags.FLAGS)
  compilation_cache.enable_persistent_cache()
  for sizes in MESHES:
    print(sizes, check_batch_sharding(sharding.make_mesh(*sizes)))
  print("scattered", check_batch_sharding(scattered_mesh()))
  print("put_tree", check_put_tree(sharding.make_mesh(2, 2, 2)))
  in_any = distributed.in_any_process
  print("in_any", bool(in_any(False)), bool(in_any(jax.process_index() == 1)))
  distributed.check_same("alike", "not reached")
  print("check_same", message(lambda: distributed.check_same(jax.process_index(), "they differ")))
  print("together", distributed.run_on_all(lambda: "done"), message(lambda: distributed.run_on_all(fail_in_process_1)))
  done = []
  distributed.run_on_first(lambda: done.append(jax.process_index()))
  print("by_first", done)
  folder = pathlib.Path(distributed.broadcast_from_first(tempfile.mkdtemp))
  with layout.locked(folder):
    pid = json.loads((folder / lock.FILE).read_text())["pid"]
    print("held", pid == os.getpid(), message(lambda: layout.locked(folder).__enter__()).replace(str(pid), "PID"))
  distributed.run_on_first(folder.rmdir)  # fails unless the folder is empty


def check_batch_sharding(mesh):
  """Checks that each device has its examples of a batch; returns the number of examples from this process."""
  indices = sharding.process_batch_indices(mesh, BATCH_SIZE)
  batch = sharding.put_batch(
    mesh, {"tokens": np.stack([indices, -indices], 1), "images": indices[::CAPTIONS_PER_IMAGE] // CAPTIONS_PER_IMAGE}
  )
  all_indices = np.arange(BATCH_SIZE)
  for array, expected in (
    (batch["tokens"], np.stack([all_indices, -all_indices], 1)),
    (batch["images"], all_indices[: BATCH_SIZE // CAPTIONS_PER_IMAGE]),
  ):
    assert array.shape == expected.shape, (array.shape, expected.shape)
    assert array.sharding == sharding.batch_sharding(mesh)
    for shard in array.addressable_shards:
      np.testing.assert_array_equal(shard.data, expected[shard.index])
  return len(indices)


def scattered_mesh():
  """Returns a mesh in which the devices of two processes alternate, as they may in a torus."""
  one, other = ([device for device in jax.devices() if device.process_index == process] for process in range(2))
  devices = np.array([one[0], other[0], one[1], other[1], one[2], other[2], one[3], other[3]])
  return Mesh(devices.reshape(8, 1, 1), sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def check_put_tree(mesh):
  """Checks how a tree is sharded; returns the fraction of a weight on each device."""
  kernel = np.arange(3 * 8 * 4, dtype=np.float32).reshape(3, 8, 4)
  tree = {"blocks": {"fc": {"kernel": jax.numpy.asarray(kernel)}}}
  laid_out = sharding.put_tree(tree, sharding.tree_shardings(mesh, tree))
  for array in (laid_out, sharding.put_tree(laid_out, sharding.tree_shardings(mesh, tree))):
    for shard in array["blocks"]["fc"]["kernel"].addressable_shards:
      np.testing.assert_array_equal(shard.data, kernel[shard.index])
  return shard.data.size / kernel.size


def fail_in_process_1():
  if jax.process_index() == 1:
    raise FileNotFoundError("there is no such file here")


def message(action):
  try:
    action()
  except (ValueError, FileNotFoundError) as error:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
