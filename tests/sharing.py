"""What each of several processes checks of itself; `python -m tests.sharing` with the flags of
tireid_jax.parallel.distributed.

Prints a line for each claim that held.
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
    print(sizes, rows_reach_their_devices(sharding.make_mesh(*sizes)))
  print("scattered", rows_reach_their_devices(scattered_mesh()))
  print("put_tree", whole_arrays_are_laid_out(sharding.make_mesh(2, 2, 2)))
  in_any = distributed.in_any_process
  print("in_any", bool(in_any(False)), bool(in_any(jax.process_index() == 1)))
  distributed.check_same("alike", "not reached")
  print("check_same", message(lambda: distributed.check_same(jax.process_index(), "they differ")))
  print("together", distributed.run_on_all(lambda: "done"), message(lambda: distributed.run_on_all(refused_in_1)))
  done = []
  distributed.run_on_first(lambda: done.append(jax.process_index()))
  print("by_first", done)
  folder = pathlib.Path(distributed.broadcast_from_first(tempfile.mkdtemp))
  with layout.locked(folder):
    pid = json.loads((folder / lock.FILE).read_text())["pid"]
    print("held", pid == os.getpid(), message(lambda: layout.locked(folder).__enter__()).replace(str(pid), "PID"))
  distributed.run_on_first(folder.rmdir)  # nothing is left in it


def rows_reach_their_devices(mesh):
  """Returns how many rows this process gave of a batch that then holds each row in its place."""
  rows = sharding.process_batch_indices(mesh, BATCH_SIZE)
  batch = sharding.put_batch(
    mesh, {"tokens": np.stack([rows, -rows], 1), "images": rows[::CAPTIONS_PER_IMAGE] // CAPTIONS_PER_IMAGE}
  )
  every = np.arange(BATCH_SIZE)
  for array, expected in (
    (batch["tokens"], np.stack([every, -every], 1)),
    (batch["images"], every[: BATCH_SIZE // CAPTIONS_PER_IMAGE]),
  ):
    assert array.shape == expected.shape, (array.shape, expected.shape)
    assert array.sharding == sharding.batch_sharding(mesh)
    for shard in array.addressable_shards:
      np.testing.assert_array_equal(shard.data, expected[shard.index])
  return len(rows)


def scattered_mesh():
  """Returns a mesh in which the devices of two processes of four alternate, as the links of a torus may have it."""
  one, other = ([device for device in jax.devices() if device.process_index == process] for process in range(2))
  devices = np.array([one[0], other[0], one[1], other[1], one[2], other[2], one[3], other[3]])
  return Mesh(devices.reshape(8, 1, 1), sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def whole_arrays_are_laid_out(mesh):
  """Returns the share of a weight that is on each device."""
  kernel = np.arange(3 * 8 * 4, dtype=np.float32).reshape(3, 8, 4)
  tree = {"blocks": {"fc": {"kernel": jax.numpy.asarray(kernel)}}}
  laid_out = sharding.put_tree(tree, sharding.tree_shardings(mesh, tree))
  for array in (laid_out, sharding.put_tree(laid_out, sharding.tree_shardings(mesh, tree))):
    for shard in array["blocks"]["fc"]["kernel"].addressable_shards:
      np.testing.assert_array_equal(shard.data, kernel[shard.index])
  return shard.data.size / kernel.size


def refused_in_1():
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
