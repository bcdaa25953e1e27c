"""Saving to a full or read-only disk raises a one-line error and keeps earlier checkpoints."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import small_disk
from tireid_jax import errors
from tireid_jax.storage import files
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import checkpoint, metric_log

pytestmark = pytest.mark.skipif(not small_disk.can_mount(), reason="this process may not mount file systems")


def state(step):
  """Returns an incompressible state of 1.5 MiB."""
  values = np.random.default_rng(step).random((60, 6_400), np.float32)
  variables = {"params": {f"kernel{i}": jnp.asarray(row) for i, row in enumerate(values)}, "prompts": {}}
  return TrainState(jnp.int32(step), variables, {"moment": jnp.full(3, float(step))})


def save(folder, steps):
  with checkpoint.Checkpoints(folder) as checkpoints:
    for step in steps:
      checkpoints.save(state(step), {"step": step}, 1.0)
      checkpoints.wait()


@pytest.fixture
def disk(tmp_path):
  with small_disk.SmallDisk(tmp_path / "disk", mib=4) as disk:
    yield disk


def test_saving_to_a_full_disk_raises_one_line_and_keeps_the_last_checkpoint(disk, capfd):
  save(disk.folder, [1])
  disk.fill(free_bytes=2**20)
  with pytest.raises(errors.DiskError) as full:
    save(disk.folder, [2])
  assert str(full.value) == (
    f"{disk.folder}/checkpoints: no space left on device; make room there, or choose another folder"
  )
  assert "".join(capfd.readouterr()) == ""
  assert checkpoint.best_step(disk.folder) == 1
  (disk.folder / "ballast").unlink()
  save(disk.folder, [2])
  assert checkpoint.best_step(disk.folder) == 2


def test_saving_to_a_read_only_disk_raises_one_line(disk, capfd):
  save(disk.folder, [1])
  disk.set_read_only(True)
  with pytest.raises(errors.DiskError, match="read-only file system; choose another folder$"):
    save(disk.folder, [2])
  assert "".join(capfd.readouterr()) == ""
  assert checkpoint.best_step(disk.folder) == 1


def test_logging_to_a_full_disk_raises_one_line_and_keeps_earlier_records(disk):
  def write(num):
    with metric_log.MetricWriter(disk.folder / "stage1") as writer:
      for step in range(1, num + 1):
        writer.write(step, {"loss/total": 1.0})

  disk.fill(free_bytes=2**14)
  with pytest.raises(errors.DiskError, match="stage1/.*: no space left on device; make room there"):
    write(1_000)
  steps = [record["step"] for record in metric_log.read_metrics(disk.folder / "stage1")]
  assert steps
  assert steps == list(range(1, len(steps) + 1))


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_previous_one_and_no_other(disk):
  path = disk.folder / "result.json"
  files.write_bytes(path, b"{}")
  disk.fill(free_bytes=2**14)
  with pytest.raises(errors.DiskError, match="result.json: no space left on device"):
    files.write_bytes(path, bytes(2**16))
  assert path.read_bytes() == b"{}"
  assert sorted(file.name for file in disk.folder.iterdir()) == ["ballast", "result.json"]
