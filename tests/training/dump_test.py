"""The dump of a non-finite step is read back unchanged."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax import errors
from tireid_jax.parallel import sharding
from tireid_jax.storage import locations
from tireid_jax.training import dump
from tireid_jax.training.state import TrainState


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
  return tmp_path if request.param == "disk" else locations.to_path(f"{request.getfixturevalue('bucket').url}/run")


def test_a_dump_is_read_back_unchanged_and_only_the_newest_is_kept(folder):
  mesh = sharding.make_mesh(1, 1, 1)

  def state(step):
    return TrainState(jnp.int32(step), {"params": {"w": jnp.arange(3.0) + step}, "prompts": {}}, {"m": jnp.zeros(2)})

  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.replicated(mesh)), state(0)
  )
  batch = sharding.put_batch(mesh, {"images": np.full((2, 4, 4, 3), 7, np.uint8), "person_id": np.int32([3, 4])})
  for step in (5, 9, 9):  # the second 9 is of a resumed run that diverged at the same step
    dumped = dump.write(folder / "stage1", state(step), batch, {"loss": "nan"})
  assert dump.read_metadata(dumped) == {"loss": "nan"}
  found, found_batch = dump.read(dumped, mesh, shapes)
  chex.assert_trees_all_equal((found, found_batch), (state(9), batch))
  assert [path.name for path in (folder / "stage1" / "diverged").iterdir()] == ["9"]


@pytest.mark.parametrize(
  ("name", "error"),
  [("nowhere/diverged/3", "there is no folder .*nowhere/diverged/3; give a dump"), (".", "is no dump of a step")],
)
def test_a_missing_folder_or_one_without_a_dump_raises(tmp_path, name, error):
  with pytest.raises(ValueError, match=error):
    dump.read_metadata(str(tmp_path / name))


def test_a_damaged_dump_is_reported_in_one_line(tmp_path):
  state = TrainState(jnp.int32(5), {"params": {"w": jnp.zeros(3)}}, {"m": jnp.zeros(2)})
  mesh = sharding.make_mesh(1, 1, 1)
  dumped = dump.write(tmp_path, state, sharding.put_batch(mesh, {"person_id": np.int32([3, 4])}), {})
  damaged = f"{dumped} is damaged: .*; run the command that wrote it again"
  (dumped / "batch" / "_METADATA").unlink()
  with pytest.raises(errors.UserError, match=damaged):
    dump.read(dumped, mesh, state)
  (dumped / "metadata" / "metadata").unlink()
  with pytest.raises(errors.UserError, match=damaged):
    dump.read_metadata(dumped)
