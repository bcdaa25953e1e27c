import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.commands import ROOT
from tireid_jax.parallel import sharding
from tireid_jax.training import checksum

MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2)]


def tree():
  """Returns arrays that a mesh shards along each of their axes, and arrays that it replicates."""
  rng = np.random.default_rng(0)
  shapes = {"block/fc/kernel": (16, 24), "blocks/attn/out/kernel": (3, 16, 8), "ln/scale": (5,), "logit_scale": ()}
  return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def checksum_on(mesh, arrays):
  return checksum.of_tree(mesh, sharding.put_tree(arrays, sharding.tree_shardings(mesh, arrays)))


def checksum_on_one_device(arrays):
  return checksum_on(sharding.make_mesh(1, 1, 1), arrays)


def test_the_checksum_is_the_same_on_one_device_and_on_any_mesh_of_eight():
  program = f"""
from tests.training import checksum_test as t
from tireid_jax.parallel import sharding
for sizes in {MESHES}:
  mesh = sharding.make_mesh(*sizes)
  num_split = sum(not where.is_fully_replicated for where in sharding.tree_shardings(mesh, t.tree()).values())
  print(t.checksum_on(mesh, t.tree()), num_split)
"""
  environment = {
    **os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
  }  # fmt: skip
  done = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  expected = checksum_on_one_device(tree())
  assert done.stdout.split() == [expected, "0", expected, "2", expected, "2"]


def flip(array, *indices, bit):
  array.reshape(-1).view(np.uint32)[list(indices)] ^= np.uint32(1 << bit)


@pytest.mark.parametrize("name", tree())
@pytest.mark.parametrize("bit", [0, 16, 31])
def test_flipping_any_bit_changes_the_checksum(name, bit):
  arrays = tree()
  flip(arrays[name], 0, bit=bit)
  assert checksum_on_one_device(arrays) != checksum_on_one_device(tree())


def test_two_flipped_bits_do_not_cancel():
  checksums = {checksum_on_one_device(tree())}
  for bit in (0, 31):
    for other in (1, 24, 25, 48):  # of the same row, of the same column, of neither
      arrays = tree()
      flip(arrays["block/fc/kernel"], 0, other, bit=bit)
      checksums.add(checksum_on_one_device(arrays))
  assert len(checksums) == 9


def test_reordering_rows_or_columns_reshaping_or_renaming_changes_the_checksum():
  kernel = tree()["block/fc/kernel"]
  variants = [{"a": kernel}, {"b": kernel}, {"a": kernel[::-1]}, {"a": kernel[:, ::-1]}, {"a": kernel.reshape(24, 16)}]
  assert len({checksum_on_one_device(arrays) for arrays in variants}) == 5


def test_the_checksum_of_a_group_covers_its_frozen_leaves_only():
  mesh = sharding.make_mesh(1, 1, 1)
  variables = {"params": {"image_encoder": {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}}, "prompts": {}}
  variables["params"]["logit_scale"] = np.float32(1)
  labels = jax.tree.map(lambda _: "frozen", variables)
  labels["params"]["image_encoder"]["b"] = "weights"
  before = checksum.of_frozen(mesh, variables, labels)
  assert sorted(before) == ["params/image_encoder", "params/logit_scale"]
  variables["params"]["image_encoder"]["b"] += 1
  assert checksum.of_frozen(mesh, variables, labels) == before
  variables["params"]["image_encoder"]["a"] += 1
  after = checksum.of_frozen(mesh, variables, labels)
  assert after["params/image_encoder"] != before["params/image_encoder"]
  assert after["params/logit_scale"] == before["params/logit_scale"]
