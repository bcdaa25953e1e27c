"""SLURM: what is submitted, and how the job deals with the ways in which its tasks end."""

import os
import signal

import pytest

from tests.launch.checkout import OVERRIDES, Checkout, ended

SETTINGS = {"FLAGS": OVERRIDES, "MAX_TRIES": 3, "GRACE_SECONDS": 3, "SBATCH_FLAGS": ["--partition=gpu"]}


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path, **SETTINGS)


def submit(checkout):
  """Runs slurm.sh and returns what sbatch was given: its own flags, and the job's script and arguments."""
  assert checkout.run("slurm.sh").returncode == 0
  (arguments,) = checkout.calls("sbatch")
  script = arguments.index("launch/slurm.sbatch")
  return arguments[:script], arguments[script:]


def run_job(checkout, **variables):
  """Runs the submitted job as SLURM does, and returns the CompletedProcess."""
  _, (script, *arguments) = submit(checkout)
  return checkout.run(script.removeprefix("launch/"), *arguments, SLURM_JOB_ID="7", **variables)


def start_job(checkout, training):
  """Starts the submitted job and returns its Popen once its two tasks train, which have a minute to end in."""
  checkout.write_settings(**{**SETTINGS, "GRACE_SECONDS": 60})
  checkout.plan(training=[training])
  _, (script, *arguments) = submit(checkout)
  process = checkout.start(script.removeprefix("launch/"), *arguments, SLURM_JOB_ID="7")
  for _ in range(2):
    assert process.stdout.readline() == "training\n"
  return process


def test_a_job_has_a_task_for_each_gpu_and_time_to_save(checkout):
  flags, _ = submit(checkout)
  assert flags == [
    "--job-name=tireid", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=4",
    "--time=24:00:00", "--signal=TERM@3", "--requeue", "--open-mode=append", "--partition=gpu",
  ]  # fmt: skip


def test_overrides_reach_every_task_as_they_are(checkout):
  assert run_job(checkout).returncode == 0
  assert [call[-3:] for call in checkout.calls("trainer")] == [[*OVERRIDES, "--multihost"]] * 2
  assert checkout.calls("scontrol") == []


def test_a_users_mistake_in_one_task_is_not_repeated(checkout):
  checkout.plan(training=[["hang", 2]])  # the other task is killed, which is a higher status
  assert run_job(checkout).returncode == 2
  assert checkout.calls("scontrol") == []
  ended(checkout)


def test_what_did_not_reach_the_end_is_queued_again_until_the_tries_are_used_up(checkout):
  checkout.plan(training=[[1, "hang"]])
  assert run_job(checkout, SLURM_RESTART_COUNT="1").returncode == 0
  assert checkout.calls("scontrol") == [["requeue", "7"]]
  checkout.forget()
  done = run_job(checkout, SLURM_RESTART_COUNT="2")
  assert (done.returncode, done.stderr) == (137, "error: not at the end after 3 starts\n")
  assert checkout.calls("scontrol") == []


def test_when_time_is_over_every_task_saves_and_the_job_is_queued_again(checkout):
  process = start_job(checkout, "save")
  (srun,) = checkout.records("srun")
  os.kill(srun["id"], signal.SIGTERM)  # to the tasks, not to the job's shell
  assert process.wait(timeout=60) == 0
  assert len(checkout.records("saved")) == 2
  assert checkout.calls("scontrol") == [["requeue", "7"]]


def test_a_cancelled_job_is_not_queued_again(checkout):
  process = start_job(checkout, "save")
  os.killpg(process.pid, signal.SIGTERM)
  assert process.wait(timeout=60) == 143
  assert len(checkout.records("saved")) == 2
  assert checkout.calls("scontrol") == []
