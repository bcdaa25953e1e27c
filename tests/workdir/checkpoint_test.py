import errno
import pathlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tireid_jax import errors
from tireid_jax.parallel import sharding
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import checkpoint, checkpoint_scores, digester, digests, orbax_errors


def state(step):
  variables = {"params": {"kernel": jnp.full((2, 2), float(step))}, "prompts": {}}
  return TrainState(jnp.int32(step), variables, {"moment": jnp.full(3, float(step))})


def save(folder, scores):
  with checkpoint.Checkpoints(folder) as checkpoints:
    for step, score in scores.items():
      checkpoints.save(state(step), {"step": step, "fingerprint": "f"}, score)


def kept_steps(folder):
  return sorted(int(path.name) for path in (folder / checkpoint.FOLDER).iterdir() if path.name.isdigit())


def test_the_best_and_the_two_newest_checkpoints_are_kept_even_after_reopening(tmp_path):
  save(tmp_path, {1: 5.0, 2: 9.0, 3: 7.0, 4: 6.0})
  assert (kept_steps(tmp_path), checkpoint.best_step(tmp_path)) == ([2, 3, 4], 2)
  save(tmp_path, {5: None, 6: 6.0})
  assert (kept_steps(tmp_path), checkpoint.best_step(tmp_path)) == ([2, 5, 6], 2)
  save(tmp_path, {7: 9.5})
  assert (kept_steps(tmp_path), checkpoint.best_step(tmp_path)) == ([6, 7], 7)
  assert digests.known_steps(tmp_path) == [6, 7]


def test_a_partly_deleted_checkpoint_is_not_selected_and_is_removed_by_the_next_save(tmp_path):
  save(tmp_path, {2: 9.0, 3: 7.0})
  folder = tmp_path / checkpoint.FOLDER
  shutil.copytree(folder / "2", folder / "1")
  shutil.rmtree(folder / "1" / "metrics")
  (folder / "1" / "_CHECKPOINT_METADATA").unlink()
  assert checkpoint.best_step(tmp_path) == 2
  save(tmp_path, {4: 8.0})
  assert kept_steps(tmp_path) == [2, 3, 4]


def test_without_scores_the_newest_checkpoint_is_selected(tmp_path):
  save(tmp_path, {1: None, 2: None})
  assert checkpoint.best_step(tmp_path) == 2
  assert checkpoint.best_step(tmp_path / "nothing") is None


def flip_byte(file):
  """Inverts the byte in the middle of a file."""
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 0xFF
  file.write_bytes(content)


def array_file(folder, step):
  """Returns the largest file of a checkpoint's variables, which contains their values."""
  files = (folder / checkpoint.FOLDER / str(step) / "variables").rglob("*")
  return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)


DAMAGE = {
  "the content of": flip_byte,
  "bytes, not": lambda file: file.write_bytes(file.read_bytes()[:-1]),
  "is missing": lambda file: file.unlink(),
}


def restore(folder):
  mesh = sharding.make_mesh(-1, 1, 1)
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.tree_shardings(mesh, {"a": leaf})["a"]),
    state(0),
  )
  with checkpoint.Checkpoints(folder) as checkpoints:
    return checkpoints.restore(shapes)[0]


@pytest.mark.parametrize("text", DAMAGE)
def test_a_run_resumes_before_a_damaged_newest_checkpoint_and_saves_it_again(tmp_path, capsys, text):
  save(tmp_path, {1: 5.0, 2: 4.0, 3: 3.0})
  DAMAGE[text](array_file(tmp_path, 3))
  assert int(restore(tmp_path).step) == 2
  printed = "".join(capsys.readouterr())
  assert f"checkpoint 3 in {tmp_path / checkpoint.FOLDER} is damaged (" in printed
  assert text in printed
  assert kept_steps(tmp_path) == [1, 2]
  save(tmp_path, {3: 3.0})
  assert int(restore(tmp_path).step) == 3
  assert "".join(capsys.readouterr()) == ""


def test_if_all_checkpoints_are_damaged_a_run_does_not_resume_and_deletes_nothing(tmp_path):
  save(tmp_path, {1: 9.0, 2: 5.0, 3: 4.0})
  for step in (1, 2, 3):
    flip_byte(array_file(tmp_path, step))
  with pytest.raises(
    ValueError, match="all checkpoints in .* are damaged .*; put back a copy of one, or choose another"
  ):
    restore(tmp_path)
  assert kept_steps(tmp_path) == digests.known_steps(tmp_path) == [1, 2, 3]


def test_a_run_resumes_from_the_newest_intact_checkpoint(tmp_path):
  save(tmp_path, {1: 9.0, 2: 5.0, 3: 4.0})
  for step in (2, 3):
    flip_byte(array_file(tmp_path, step))
  assert int(restore(tmp_path).step) == 1
  assert kept_steps(tmp_path) == [1]


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_best_checkpoint_raises_and_no_other_is_read_instead(tmp_path, text):
  save(tmp_path, {1: 9.0, 2: 4.0, 3: 3.0})
  DAMAGE[text](array_file(tmp_path, 1))
  mesh = sharding.make_mesh(-1, 1, 1)
  with pytest.raises(ValueError, match=rf"checkpoints/1 is damaged: .*{text}.*; put back a copy of it, or remove that"):
    checkpoint.restore_variables(tmp_path, checkpoint.best_step(tmp_path), mesh)
  assert kept_steps(tmp_path) == [1, 2, 3]


def test_a_checkpoint_without_digests_is_used_with_a_warning(tmp_path, capsys):
  save(tmp_path, {1: 5.0})
  shutil.rmtree(tmp_path / digests.FOLDER)
  assert int(restore(tmp_path).step) == 1
  assert "checkpoint 1 in" in (printed := "".join(capsys.readouterr()))
  assert "has no digests to verify it against; using it unverified" in printed


def test_damaged_digests_are_distinguished_from_damaged_arrays(tmp_path):
  save(tmp_path, {1: 5.0})
  (tmp_path / digests.FOLDER / "1.json").write_text("{")
  assert "1.json is damaged itself" in digests.fault(tmp_path, 1, tmp_path / checkpoint.FOLDER / "1")


def test_restored_state_and_variables_equal_the_saved_ones(tmp_path):
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


def test_variables_are_restored_onto_the_mesh(tmp_path):
  save(tmp_path, {1: None})
  mesh = sharding.make_mesh(-1, 1, 1)
  variables, _ = checkpoint.restore_variables(tmp_path, 1, mesh)
  assert variables["params"]["kernel"].sharding.mesh == mesh


def test_stale_digests_of_a_manually_deleted_checkpoint_are_discarded_at_the_next_save(tmp_path, monkeypatch):
  save(tmp_path, {1: None, 2: None})
  shutil.rmtree(tmp_path / checkpoint.FOLDER / "2")
  monkeypatch.setattr(digests, "write", lambda *_: None)  # as if killed before the digests are written
  save(tmp_path, {2: None})
  assert digests.known_steps(tmp_path) == [1]


def test_an_uncommitted_save_gets_no_digests_if_one_of_several_processes_fails(tmp_path, monkeypatch):
  monkeypatch.setattr(digester, "_COMMITTED", "never_written")
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(state(1), {}, None)
  checkpoints._manager.wait_until_finished()
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  checkpoints.__exit__(KeyError, KeyError(), None)
  assert digests.known_steps(tmp_path) == []


def test_check_reports_a_failed_save_without_waiting(tmp_path, monkeypatch):
  def fail(self):
    raise OSError(errno.ENOSPC, "No space left on device")

  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.check()
    monkeypatch.setattr(ocp.CheckpointManager, "check_for_errors", fail)
    with pytest.raises(errors.DiskError, match="no space left on device"):
      checkpoints.check()
    monkeypatch.undo()


def test_a_checkpoint_deleted_while_steps_are_listed_is_not_an_error(tmp_path, monkeypatch):
  save(tmp_path, {1: 9.0, 2: 8.0})
  read = checkpoint_scores._open_reader

  def vanish(folder):
    monkeypatch.setattr(checkpoint_scores, "_open_reader", read)
    raise FileNotFoundError("1")

  monkeypatch.setattr(checkpoint_scores, "_open_reader", vanish)
  assert checkpoint.best_step(tmp_path) == 1


@pytest.mark.parametrize("step", [2, 3])
def test_a_step_is_saved_once(tmp_path, step):
  save(tmp_path, {2: 5.0})
  save(tmp_path, {step: 1.0})
  assert checkpoint.best_step(tmp_path) == 2


def test_variables_that_stack_the_last_block_with_the_others_are_rejected(tmp_path):
  old = state(1).replace(variables={"params": {"blocks": {"kernel": jnp.ones((3, 2))}}, "prompts": {}})
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(old, {}, None)
    checkpoints.wait()
    with pytest.raises(ValueError, match="are of an earlier version; train this stage again in another workdir"):
      checkpoints.restore(old)
  with pytest.raises(ValueError, match="are of an earlier version"):
    checkpoint.restore_variables(tmp_path, 1, sharding.make_mesh(-1, 1, 1))


ITEM_FILES = (
  "metadata/metadata",
  "metrics/metrics",
  "variables/_METADATA",
  "optimizer/_METADATA",
  "_CHECKPOINT_METADATA",
)
FAULTS = {"missing": None, "empty": b"", "truncated": b'{"sco', "binary": b"\x80\0{", "another object": b"{}"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ITEM_FILES)
def test_any_damaged_file_makes_a_run_skip_the_newest_checkpoint_and_reject_the_best(tmp_path, capsys, name, fault):
  save(tmp_path, {1: 5.0, 2: 9.0, 3: 7.0, 4: 6.0})
  mesh = sharding.make_mesh(-1, 1, 1)

  def damage(step):
    file = tmp_path / checkpoint.FOLDER / str(step) / name
    file.unlink()
    if FAULTS[fault] is not None:
      file.write_bytes(FAULTS[fault])

  damage(4)
  assert checkpoint.best_step(tmp_path) == 2
  assert checkpoint.restore_variables(tmp_path, 2, mesh)[1]["step"] == 2
  assert int(restore(tmp_path).step) == 3
  assert f"checkpoint 4 in {tmp_path / checkpoint.FOLDER} is damaged (" in "".join(capsys.readouterr())
  damage(2)
  assert checkpoint.best_step(tmp_path) == 2
  with pytest.raises(errors.UserError, match="checkpoints/2 is damaged: .*; put back a copy of it, or remove") as found:
    checkpoint.restore_variables(tmp_path, 2, mesh)
  assert len(str(found.value).splitlines()) == 1


def test_only_the_first_process_deletes_checkpoints_with_damaged_scores(tmp_path, monkeypatch):
  save(tmp_path, {1: 5.0, 2: 6.0})
  (tmp_path / checkpoint.FOLDER / "2" / "metrics" / "metrics").write_text("{")
  monkeypatch.setattr(checkpoint_scores.distributed, "is_first", lambda: False)
  checkpoint_scores.check(tmp_path)
  assert kept_steps(tmp_path) == [1, 2]
  monkeypatch.undo()
  checkpoint_scores.check(tmp_path)
  assert kept_steps(tmp_path) == [1]


@pytest.mark.parametrize("name", ["metadata/metadata", "variables/_METADATA", "variables/manifest.ocdbt"])
def test_a_truncated_file_raises_one_line_even_without_digests(tmp_path, name):
  save(tmp_path, {1: 5.0, 2: 4.0})
  shutil.rmtree(tmp_path / digests.FOLDER)
  for step in (1, 2):
    file = tmp_path / checkpoint.FOLDER / str(step) / name
    file.write_bytes(file.read_bytes()[:10])
  with pytest.raises(errors.UserError, match="checkpoints/1 is damaged: .*; put back a copy of it, or remove that"):
    checkpoint.restore_variables(tmp_path, 1, sharding.make_mesh(-1, 1, 1))
  with pytest.raises(
    errors.UserError, match="checkpoints/2 is damaged: .* or remove that folder to go on from the one"
  ):
    restore(tmp_path)
  assert kept_steps(tmp_path) == [1, 2]


def test_a_partly_deleted_checkpoint_with_digests_does_not_count_as_damaged(tmp_path):
  save(tmp_path, {2: 9.0, 3: 7.0})
  shutil.copytree(tmp_path / checkpoint.FOLDER / "3", tmp_path / checkpoint.FOLDER / "1")
  shutil.copyfile(tmp_path / digests.FOLDER / "3.json", tmp_path / digests.FOLDER / "1.json")
  (tmp_path / checkpoint.FOLDER / "1" / "metrics" / "metrics").unlink()
  assert checkpoint.best_step(tmp_path) == 2
  assert int(restore(tmp_path).step) == 3


def test_if_the_newest_metadata_is_damaged_the_previous_one_is_read(tmp_path):
  save(tmp_path, {1: 5.0, 2: 6.0})
  file = tmp_path / checkpoint.FOLDER / "2" / "metadata" / "metadata"
  file.write_text("[]")
  assert checkpoint.newest_readable_metadata(tmp_path)["step"] == 1
  with pytest.raises(errors.UserError, match="checkpoints/2 is damaged: TypeError: its metadata is no JSON object"):
    checkpoint.read_metadata(tmp_path, 2)


@pytest.mark.parametrize(
  ("error", "raised"),
  [
    (OSError(errno.EMFILE, "too many"), errors.DiskError),
    (PermissionError(errno.EACCES, "denied"), errors.DiskError),
    (OSError(errno.EIO, "i/o"), OSError),
    (TimeoutError("the bucket is late"), TimeoutError),
  ],
  ids=["descriptors", "permissions", "i/o", "a bucket"],
)
def test_temporarily_unreadable_checkpoints_are_neither_called_damaged_nor_deleted(
  tmp_path, monkeypatch, error, raised
):
  save(tmp_path, {1: 5.0, 2: 6.0})

  def read(path, *arguments, **keywords):
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "read_text", read)
    with pytest.raises(raised) as found:
      restore(tmp_path)
  assert "damaged" not in str(found.value)
  assert isinstance(found.value, errors.UserError) == (raised is errors.DiskError)
  with pytest.raises(raised) as found, orbax_errors.restoring(tmp_path):
    raise error
  assert "damaged" not in str(found.value)
  assert int(restore(tmp_path).step) == 2


def test_if_no_checkpoint_has_a_score_a_run_does_not_start_over(tmp_path):
  save(tmp_path, {1: 5.0})
  shutil.rmtree(tmp_path / digests.FOLDER)
  (tmp_path / checkpoint.FOLDER / "1" / "metrics" / "metrics").unlink()
  with pytest.raises(errors.UserError, match="are damaged: none has a score; put back a copy of one"):
    checkpoint.best_step(tmp_path)


@pytest.mark.parametrize(
  ("number", "words"), [(28, "no space left on device; make room there"), (30, "read-only file system; choose another")]
)
def test_disk_errors_of_tensorstore_become_one_line(tmp_path, number, words):
  def save():
    try:
      raise ValueError(f"RESOURCE_EXHAUSTED: Failed to write 15 bytes to file 11: ... [os_error_code='{number}']")
    except ValueError as error:
      raise RuntimeError("a save has failed") from error

  with pytest.raises(errors.DiskError, match=f"^{tmp_path}: {words}"), orbax_errors.saving(tmp_path):
    save()


def _deeply_nested(text):
  return text[:-1] + ', "more": ' + "[" * 100_000


def _timestamp_out_of_range(text):
  return re.sub(r'("commit_timestamp_nsecs": )\d+', r"\g<1>" + "1" * 30, text)


@pytest.mark.parametrize(
  ("file", "damage"), [("variables/_METADATA", _deeply_nested), ("_CHECKPOINT_METADATA", _timestamp_out_of_range)]
)
def test_malformed_orbax_metadata_raises_one_line(tmp_path, file, damage):
  save(tmp_path, {1: 5.0})
  shutil.rmtree(tmp_path / digests.FOLDER)  # which would detect the damage before Orbax reads the file
  path = tmp_path / checkpoint.FOLDER / "1" / file
  path.write_text(damage(path.read_text()))
  with pytest.raises(errors.UserError, match=r"checkpoints(/1)? is damaged: "):
    _restore_both(tmp_path)


def _restore_both(folder):
  """Restores a checkpoint as the next stage does, then as a resumed run does."""
  checkpoint.restore_variables(folder, 1, sharding.make_mesh(-1, 1, 1))
  with checkpoint.Checkpoints(folder) as checkpoints:
    checkpoints.restore(state(1))
