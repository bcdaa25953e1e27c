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
  """Returns arrays that a mesh splits along each axis, and others."""
  draw = np.random.default_rng(0)
  shapes = {"block/fc/kernel": (16, 24), "blocks/attn/out/kernel": (3, 16, 8), "ln/scale": (5,), "logit_scale": ()}
  return {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def checksum_on(mesh, arrays):
  return checksum.of_tree(mesh, sharding.put_tree(arrays, sharding.tree_shardings(mesh, arrays)))


def here(arrays):
  return checksum_on(sharding.make_mesh(1, 1, 1), arrays)


def test_it_is_the_same_on_one_device_and_on_any_mesh_of_eight():
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
  assert done.stdout.split() == [here(tree()), "0", here(tree()), "2", here(tree()), "2"]


def flip(array, *indices, bit):
  array.reshape(-1).view(np.uint32)[list(indices)] ^= np.uint32(1 << bit)


@pytest.mark.parametrize("name", tree())
@pytest.mark.parametrize("bit", [0, 16, 31])
def test_any_bit_changes_it(name, bit):
  arrays = tree()
  flip(arrays[name], 0, bit=bit)
  assert here(arrays) != here(tree())


def test_pairs_of_changes_do_not_cancel():
  found = {here(tree())}
  for bit in (0, 31):
    for other in (1, 24, 25, 48):  # of the same row, of the same column, of neither
      arrays = tree()
      flip(arrays["block/fc/kernel"], 0, other, bit=bit)
      found.add(here(arrays))
  assert len(found) == 9


def test_rows_columns_and_names_that_change_places_change_it():
  kernel = tree()["block/fc/kernel"]
  variants = [{"a": kernel}, {"b": kernel}, {"a": kernel[::-1]}, {"a": kernel[:, ::-1]}, {"a": kernel.reshape(24, 16)}]
  assert len({here(arrays) for arrays in variants}) == 5


def test_only_frozen_leaves_count_and_each_in_its_group():
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
