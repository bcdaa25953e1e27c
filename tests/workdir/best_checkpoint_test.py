"""Reading a checkpoint that a run in the same workdir deletes at that moment."""

import shutil

import chex
import jax.numpy as jnp
import pytest

from tests import exports
from tests.workdir.checkpoint_test import array_file, flip_byte, save
from tireid_jax.parallel import sharding
from tireid_jax.storage import lock
from tireid_jax.training import loading
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import best_checkpoint, checkpoint


def delete_during_reads(monkeypatch, name, *steps, damaged=False):
  """Patches a function of `checkpoint` so that each of its first calls deletes one of `steps` before it reads."""
  read, remaining = getattr(checkpoint, name), list(steps)

  def delete_and_read(folder, step, *rest):
    if remaining:
      shutil.rmtree(folder / checkpoint.FOLDER / str(remaining.pop(0)))
      if damaged:
        raise ValueError("the content has changed")
    return read(folder, step, *rest)

  monkeypatch.setattr(checkpoint, name, delete_and_read)


@pytest.mark.parametrize("damaged", [False, True])
def test_if_a_run_deletes_a_checkpoint_while_it_is_read_the_next_best_is_read(tmp_path, monkeypatch, capsys, damaged):
  save(tmp_path, {1: 9.0, 2: 8.0, 3: 7.0})
  delete_during_reads(monkeypatch, "restore_variables", 1, 2, damaged=damaged)
  step, variables, metadata = best_checkpoint.restore(tmp_path, sharding.make_mesh(-1, 1, 1))
  assert (step, metadata["step"], float(variables["params"]["kernel"][0, 0])) == (3, 3, 3.0)
  printed = capsys.readouterr().err
  for step in (1, 2):
    assert f"checkpoint {step} in {tmp_path / checkpoint.FOLDER} was deleted while it was read; readi" in printed


def test_if_a_run_deletes_metadata_while_it_is_read_that_of_the_next_best_is_read(tmp_path, monkeypatch):
  save(tmp_path, {1: 9.0, 2: 8.0})
  delete_during_reads(monkeypatch, "read_metadata", 1)
  assert best_checkpoint.read_metadata(tmp_path)["step"] == 2


def test_an_existing_but_damaged_checkpoint_raises_without_waiting(tmp_path, monkeypatch):
  save(tmp_path, {1: 9.0, 2: 8.0})
  flip_byte(array_file(tmp_path, 1))
  monkeypatch.setattr(best_checkpoint.time, "sleep", None)
  with pytest.raises(ValueError, match="checkpoints/1 is damaged"):
    best_checkpoint.restore(tmp_path, sharding.make_mesh(-1, 1, 1))


def test_while_a_run_uses_the_workdir_a_reader_waits_for_a_deletion_to_finish(tmp_path, monkeypatch):
  stage_folder = tmp_path / "stage1"
  save(stage_folder, {1: 9.0, 2: 8.0})
  array_file(stage_folder, 1).unlink()  # the first step of a deletion
  folder = stage_folder / checkpoint.FOLDER / "1"
  monkeypatch.setattr(best_checkpoint.time, "sleep", lambda _: shutil.rmtree(folder))
  with lock.holding(tmp_path, "", ""):
    assert best_checkpoint.restore(stage_folder, sharding.make_mesh(-1, 1, 1))[0] == 2


def test_a_stage_loads_even_if_its_run_deletes_the_checkpoint_being_read(tmp_path, monkeypatch):
  model, clip = exports.random_clip((32, 16))
  exports.write_run(tmp_path, model, clip)
  with checkpoint.Checkpoints(tmp_path / "stage2") as checkpoints:
    metadata = checkpoint.read_metadata(tmp_path / "stage2", 7)
    checkpoints.save(TrainState(jnp.int32(8), clip, {"moment": jnp.zeros(1)}), metadata)
  delete_during_reads(monkeypatch, "restore_variables", 8)
  _, variables, _, _, step = loading.load_stage(tmp_path, "2")
  assert step == 7
  chex.assert_trees_all_equal(variables["params"]["text_encoder"], clip["params"]["text_encoder"])
