"""The workers' command with the real trainer: two workers, preempted in stage 1, end like one process."""

import json

import pytest

from tests.commands import SMALL, succeed
from tests.data.trees import make_tree
from tests.launch import standins
from tests.launch.checkout import TIMEOUT_S, Checkout, wait_for
from tests.models.trees import write_hf_clip
from tests.processes import free_port
from tireid_jax.models.variants import VARIANTS
from tireid_jax.workdir import checkpoint
from tireid_jax.workdir.metric_log import read_metrics

# Relative tolerance of the loss at each step.
TOLERANCE = 1e-5


@pytest.mark.slow
def test_two_workers_preempted_in_stage_1_end_like_one_process(tmp_path, monkeypatch):
  make_tree(tmp_path / "raw", "rstp_reid", num_ids={"train": 8, "val": 3, "test": 3})
  write_hf_clip(tmp_path / "clip", VARIANTS["tiny"], image_size=48)
  flags = [*SMALL, "--config.checkpoint_every_steps=2", f"--config.pretrained={tmp_path}/clip"]
  where = ["--config=configs/rstp.py", f"--config.data_dir={tmp_path}/data"]
  succeed("data.prepare", *where, *flags, f"--raw={tmp_path}/raw")
  succeed("main", *where, *flags, "--stage=all", f"--workdir={tmp_path}/whole")

  run = tmp_path / "shared/run"
  checkout = Checkout(
    tmp_path, trains=True, CONFIG="configs/rstp.py", DATA_DIR=tmp_path / "data", WORKDIR=run, FLAGS=flags,
    POLL_SECONDS=1, PORT=free_port(),
  )  # fmt: skip
  monkeypatch.setattr(standins, "FOLDER", checkout.standins)
  process = checkout.start("tpu.sh", "run", JAX_COORDINATOR_PORT=str(free_port()))
  wait_for(lambda: saved(run / "stage1") or process.poll() is not None, TIMEOUT_S)
  standins.preempt()
  assert not (run / "stage1/result.json").exists()
  output, errors = process.communicate(timeout=TIMEOUT_S)
  assert process.returncode == 0, errors[-3000:] + output[-3000:]
  assert "stage 1: 2 cpu device(s)" in log(checkout, worker=0)
  assert "resumed at step" in log(checkout, worker=0)
  assert "stage 1" not in log(checkout, worker=1)  # only process 0 logs

  for stage in ("stage1", "stage2"):
    ours, whole = losses(run / stage), losses(tmp_path / "whole" / stage)
    assert list(ours) == list(whole)
    assert list(ours.values()) == pytest.approx(list(whole.values()), rel=TOLERANCE)
    assert result(run / stage)["t2i"]["R@1"] == result(tmp_path / "whole" / stage)["t2i"]["R@1"]

  # Run again by local processes, the same command has nothing left to do.
  done = checkout.run("local.sh", 2)
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stderr.count("stage 1 is finished") == done.stderr.count("stage 2 is finished") == 1


def saved(stage_folder):
  """Returns the folders of complete checkpoints."""
  return [path for path in (stage_folder / checkpoint.FOLDER).glob("*") if path.name.isdigit()]


def log(checkout, *, worker):
  """Returns the log of the last start on a worker."""
  return (checkout.standins / f"worker-{worker}/tireid_jax_run/log").read_text()


def losses(stage_folder):
  return {record["step"]: record["loss/total"] for record in read_metrics(stage_folder) if "loss/total" in record}


def result(stage_folder):
  return json.loads((stage_folder / "result.json").read_text())
