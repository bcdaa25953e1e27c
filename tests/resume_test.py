"""A run that was stopped by a signal or has a damaged newest checkpoint is resumed with bit-equal results."""

import signal
import time

import chex
import numpy as np
import pytest

from tests.commands import SMALL, run, start, succeed
from tests.data.trees import make_tree
from tests.models.trees import write_hf_clip
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.workdir import checkpoint
from tireid_jax.workdir.metric_log import read_metrics

pytestmark = pytest.mark.slow

CHECKPOINTS = (*SMALL, "--config.stage1.epochs=6", "--config.checkpoint_every_steps=2", "--config.prompts.dropout=0.1")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
  folder = tmp_path_factory.mktemp("resume")
  make_tree(folder / "raw", "rstp_reid", num_ids={"train": 8, "val": 3, "test": 3})
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  flags = (
    "--config=configs/rstp.py", *CHECKPOINTS, f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/clip",
  )  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={folder}/raw")
  return (*flags, "--stage=1")


@pytest.fixture(scope="module")
def uninterrupted(flags, tmp_path_factory):
  folder = tmp_path_factory.mktemp("whole")
  succeed("main", *flags, f"--workdir={folder}")
  return folder / "stage1"


def last_state(stage_folder):
  """Returns (step, variables) of the last checkpoint."""
  with checkpoint.Checkpoints(stage_folder) as checkpoints:
    step = checkpoints.latest_step()
  variables, _ = checkpoint.restore_variables(stage_folder, step, sharding.make_mesh(1, 1, 1))
  return step, variables


def wait_for(process, is_reached):
  """Polls until the condition holds, while the process must be running."""
  deadline = time.monotonic() + 300
  while not is_reached():
    assert process.poll() is None, process.stdout.read()[-3000:]
    assert time.monotonic() < deadline
    time.sleep(0.002)


def logged_step(stage_folder):
  records = read_metrics(stage_folder)
  return records[-1]["step"] if records else 0


def assert_equal_runs(stage_folder, uninterrupted):
  chex.assert_trees_all_equal(last_state(stage_folder), last_state(uninterrupted))
  steps = [record["step"] for record in read_metrics(stage_folder) if "loss/total" in record]
  assert steps == [record["step"] for record in read_metrics(uninterrupted) if "loss/total" in record]
  ours, expected = (
    [r["loss/total"] for r in read_metrics(f) if "loss/total" in r] for f in (stage_folder, uninterrupted)
  )
  assert ours == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_and_the_same_command_resumes(flags, uninterrupted, tmp_path, number):
  stage_folder = tmp_path / "stage1"
  process = start("main", *flags, f"--workdir={tmp_path}")
  wait_for(process, lambda: logged_step(stage_folder) >= 3)
  process.send_signal(number)
  output, _ = process.communicate(timeout=600)
  assert process.returncode == 128 + number
  saved, _ = last_state(stage_folder)
  assert f"stopped and saved at step {saved}; run the same command to go on" in output
  succeed("main", *flags, f"--workdir={tmp_path}")
  assert_equal_runs(stage_folder, uninterrupted)


def test_a_run_with_a_damaged_newest_checkpoint_is_resumed_from_the_previous_one(flags, uninterrupted, tmp_path):
  stage_folder = tmp_path / "stage1"
  process = start("main", *flags, f"--workdir={tmp_path}")
  wait_for(process, lambda: logged_step(stage_folder) >= 5)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=600)
  steps = (int(path.name) for path in (stage_folder / checkpoint.FOLDER).iterdir())
  newest, before = sorted(steps, reverse=True)[:2]
  files = (stage_folder / "checkpoints" / str(newest)).rglob("*")
  file = max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)
  content = bytearray(file.read_bytes())
  positions = np.random.default_rng(0).integers(0, len(content), 200)
  for position in positions:
    content[position] ^= 0xFF
  file.write_bytes(content)
  done = run("main", *flags, f"--workdir={tmp_path}")
  assert done.returncode == 0, done.stderr[-2000:]
  assert f"checkpoint {newest} in {stage_folder}/checkpoints is damaged (" in done.stderr
  assert f"resumed at step {before}" in done.stderr
  assert_equal_runs(stage_folder, uninterrupted)
