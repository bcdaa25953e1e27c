import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax import checkpoint, sharding
from tireid_jax.state import TrainState


def state(step):
  variables = {"params": {"kernel": jnp.full((2, 2), float(step))}, "prompts": {}}
  return TrainState(jnp.int32(step), variables, {"moment": jnp.full(3, float(step))})


def save(folder, scores):
  with checkpoint.Checkpoints(folder) as checkpoints:
    for step, score in scores.items():
      checkpoints.save(state(step), {"step": step, "fingerprint": "f"}, score)


def kept(folder):
  return sorted(int(path.name) for path in (folder / checkpoint.FOLDER).iterdir() if path.name.isdigit())


def test_the_best_and_the_newest_stay_also_after_reopening(tmp_path):
  save(tmp_path, {1: 5.0, 2: 9.0, 3: 7.0})
  assert (kept(tmp_path), checkpoint.chosen_step(tmp_path)) == ([2, 3], 2)
  save(tmp_path, {4: None, 5: 6.0})
  assert (kept(tmp_path), checkpoint.chosen_step(tmp_path)) == ([2, 5], 2)
  save(tmp_path, {6: 9.5})
  assert (kept(tmp_path), checkpoint.chosen_step(tmp_path)) == ([6], 6)


def test_one_whose_deletion_was_cut_short_is_not_chosen_and_goes_with_the_next_save(tmp_path):
  save(tmp_path, {2: 9.0, 3: 7.0})
  folder = tmp_path / checkpoint.FOLDER
  shutil.copytree(folder / "2", folder / "1")
  shutil.rmtree(folder / "1" / "metrics")
  (folder / "1" / "_CHECKPOINT_METADATA").unlink()
  assert checkpoint.chosen_step(tmp_path) == 2
  save(tmp_path, {4: 8.0})
  assert kept(tmp_path) == [2, 4]


def test_without_scores_the_newest_is_chosen(tmp_path):
  save(tmp_path, {1: None, 2: None})
  assert checkpoint.chosen_step(tmp_path) == 2
  assert checkpoint.chosen_step(tmp_path / "nothing") is None


def test_restored_state_and_variables_are_the_saved_ones(tmp_path):
  save(tmp_path, {1: 5.0, 2: 4.0})
  mesh = sharding.make_mesh(-1, 1, 1)
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.tree_shardings(mesh, {"a": leaf})["a"]),
    state(0),
  )
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    restored, metadata = checkpoints.restore(shapes)
  assert (int(restored.step), metadata["step"]) == (2, 2)
  np.testing.assert_array_equal(restored.optimizer["moment"], [2.0, 2.0, 2.0])
  variables, metadata = checkpoint.restore_variables(tmp_path, 1, mesh)
  assert (variables["prompts"], metadata["step"]) == ({}, 1)
  np.testing.assert_array_equal(variables["params"]["kernel"], np.ones((2, 2)))


@pytest.mark.parametrize("step", [2, 3])
def test_a_step_is_saved_once(tmp_path, step):
  save(tmp_path, {2: 5.0})
  save(tmp_path, {step: 1.0})
  assert checkpoint.chosen_step(tmp_path) == 2


def test_variables_with_the_last_block_among_the_others_are_refused(tmp_path):
  old = state(1).replace(variables={"params": {"blocks": {"kernel": jnp.ones((3, 2))}}, "prompts": {}})
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(old, {}, None)
    checkpoints.wait()
    with pytest.raises(ValueError, match="are of an earlier version; train this stage anew in another workdir"):
      checkpoints.restore(old)
  with pytest.raises(ValueError, match="are of an earlier version"):
    checkpoint.restore_variables(tmp_path, 1, sharding.make_mesh(-1, 1, 1))
