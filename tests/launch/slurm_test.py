"""SLURM: the submitted job, and how it reacts when its tasks end."""

import os
import signal

import pytest

from tests.launch.checkout import AFTER, OVERRIDES, TIMEOUT_S, Checkout, failing, wait_until_ended

SETTINGS = {"FLAGS": OVERRIDES, "MAX_TRIES": 3, "GRACE_SECONDS": 3, "SBATCH_FLAGS": ["--partition=gpu"]}


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path, **SETTINGS)


def submit(checkout):
  """Runs slurm.sh and returns (flags of sbatch, the job's script and its arguments)."""
  assert checkout.run("slurm.sh").returncode == 0
  (arguments,) = checkout.calls("sbatch")
  script = arguments.index("launch/slurm.sbatch")
  return arguments[:script], arguments[script:]


def run_job(checkout, **variables):
  """Runs the submitted job as SLURM does, and returns the CompletedProcess."""
  _, (script, *arguments) = submit(checkout)
  return checkout.run(script.removeprefix("launch/"), *arguments, SLURM_JOB_ID="7", **variables)


def start_job(checkout, training):
  """Starts the submitted job, with a grace period of 60 s, and returns its Popen once both tasks are training."""
  checkout.write_settings(**{**SETTINGS, "GRACE_SECONDS": 60})
  checkout.plan(training=[training])
  _, (script, *arguments) = submit(checkout)
  process = checkout.start(script.removeprefix("launch/"), *arguments, SLURM_JOB_ID="7")
  for _ in range(2):
    assert process.stdout.readline() == "training\n"
  return process


def test_a_job_has_a_task_per_gpu_and_time_to_save(checkout):
  flags, _ = submit(checkout)
  assert flags == [
    "--job-name=tireid", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=4",
    "--time=24:00:00", "--signal=TERM@3", "--requeue", "--open-mode=append", "--partition=gpu",
  ]  # fmt: skip


def test_overrides_reach_every_task_unchanged(checkout):
  assert run_job(checkout).returncode == 0
  assert [call[-3:] for call in checkout.calls("trainer")] == [[*OVERRIDES, "--multihost"]] * 2
  assert checkout.calls("scontrol") == []


def test_a_job_is_not_requeued_after_a_user_error_in_one_task(checkout):
  checkout.plan(training=[["hang", 2]])  # the other task is killed, which gives a higher status
  assert run_job(checkout).returncode == 2
  assert checkout.calls("scontrol") == []
  wait_until_ended(checkout)


def test_a_job_is_not_requeued_after_ctrl_c(checkout):
  checkout.plan(training=[[130, 130]])
  assert run_job(checkout).returncode == 130
  assert checkout.calls("scontrol") == []


def test_an_incomplete_job_is_requeued_until_its_tries_are_used_up(checkout):
  checkout.plan(training=[[failing("ValueError: it is worn out", log=AFTER), "hang"]])
  assert run_job(checkout, SLURM_RESTART_COUNT="1").returncode == 0
  assert checkout.calls("scontrol") == [["requeue", "7"]]
  checkout.clear_records()
  done = run_job(checkout, SLURM_RESTART_COUNT="2")
  assert (done.returncode, done.stderr) == (137, "error: training is not complete after 3 starts\n")
  assert checkout.calls("scontrol") == []


def run_starts(checkout, *training):
  """Starts the job once per entry; returns whether it was requeued after each start, and the last result."""
  checkout.write_settings(**{**SETTINGS, "MAX_TRIES": 20, "GRACE_SECONDS": 1})
  checkout.plan(training=training)
  _, (script, *arguments) = submit(checkout)
  requeued = []
  for count in range(len(training)):
    before = len(checkout.calls("scontrol"))
    done = checkout.run(
      script.removeprefix("launch/"), *arguments, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(count)
    )  # fmt: skip
    requeued.append(len(checkout.calls("scontrol")) > before)
  return requeued, done


def test_a_job_is_not_requeued_after_two_equal_failures_before_the_first_step(checkout):
  training = [[failing(f"error: 10.0.0.2:{port} refused", status=3), 3] for port in (40118, 40230)]
  requeued, done = run_starts(checkout, *training)
  assert requeued == [True, False]
  assert done.returncode == 3
  assert done.stderr.endswith(
    "error: 10.0.0.2:40230 refused\n"
    "error: two consecutive starts failed before the first step with the same error: 3: error: N.N.N.N:N refused\n"
  )
  assert not list(checkout.folder.glob("slurm-*"))


def test_a_job_is_requeued_after_failures_that_differ_follow_a_step_or_come_from_sigterm(checkout):
  one, other = failing("ValueError: one"), failing("ValueError: other")
  requeued, _ = run_starts(
    checkout, [one, 1], [other, 1], [one, 1], [failing("ValueError: one", status=3), 1], [one, 1],
    [failing("ValueError: one", log=AFTER), 1], [one, 1], [143, 143], [143, 143], [one, 1], [one, 1],
  )  # fmt: skip
  assert requeued == [True] * 10 + [False]


def test_failures_of_one_job_do_not_count_for_another(checkout):
  checkout.plan(training=[[failing("ValueError: one"), 1]])
  _, (script, *arguments) = submit(checkout)
  for job in ("7", "8"):
    assert checkout.run(script.removeprefix("launch/"), *arguments, SLURM_JOB_ID=job).returncode == 0
  assert checkout.calls("scontrol") == [["requeue", "7"], ["requeue", "8"]]


def test_at_the_time_limit_every_task_saves_and_the_job_is_requeued(checkout):
  process = start_job(checkout, "save")
  (srun,) = checkout.records("srun")
  os.kill(srun["id"], signal.SIGTERM)  # to the tasks, not to the job's shell
  assert process.wait(timeout=TIMEOUT_S) == 0
  assert len(checkout.records("saved")) == 2, process.stderr.read()
  assert checkout.calls("scontrol") == [["requeue", "7"]]


def test_a_cancelled_job_is_not_requeued(checkout):
  process = start_job(checkout, "save")
  os.killpg(process.pid, signal.SIGTERM)
  assert process.wait(timeout=TIMEOUT_S) == 143
  assert len(checkout.records("saved")) == 2, process.stderr.read()
  assert checkout.calls("scontrol") == []
