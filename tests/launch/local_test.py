"""Processes on this machine: their arguments, and that none outlives the script."""

import os
import signal

import pytest

from tests.launch.checkout import OVERRIDES, TIMEOUT_S, Checkout, wait_for, wait_until_ended


def test_each_process_gets_its_index_and_unchanged_overrides(tmp_path):
  checkout = Checkout(tmp_path, FLAGS=OVERRIDES)
  assert checkout.run("local.sh", 3, "--config.seed=1").returncode == 0
  assert sorted(call[-7:] for call in checkout.calls("trainer")) == [
    [*OVERRIDES, "--config.seed=1", "--multihost", "--coordinator=127.0.0.1:8476", "--num_processes=3",
     f"--process_id={process}"]
    for process in range(3)
  ]  # fmt: skip


@pytest.mark.parametrize(("others", "grace_seconds"), [("hang", 3600), ("ignore", 1)])
def test_the_first_failure_ends_the_other_processes_and_sets_the_exit_status(tmp_path, others, grace_seconds):
  checkout = Checkout(tmp_path, GRACE_SECONDS=grace_seconds)
  checkout.plan(training=[[others, 3, others]])
  done = checkout.run("local.sh", 3)
  assert done.returncode == 3
  assert "process 1 exited with status 3" in done.stderr
  wait_until_ended(checkout)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_all_processes(tmp_path, sent, status):
  checkout = Checkout(tmp_path)
  checkout.plan(training=["hang"])
  process = start(checkout)
  os.killpg(process.pid, sent)  # to the whole process group, as a terminal does
  assert process.wait(timeout=TIMEOUT_S) == status
  wait_until_ended(checkout)


def test_the_script_does_not_hang_if_processes_end_while_it_handles_the_signal(tmp_path):
  checkout = Checkout(tmp_path)
  # A process that ends as soon as it gets the signal.
  (checkout.folder / ".venv/bin/python").write_text("#!/bin/sh\necho training\nexec sleep 600\n")
  for _ in range(40):  # the race lasts only milliseconds
    process = start(checkout)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT_S) == 143


def test_a_second_signal_kills_processes_that_ignored_the_first(tmp_path):
  checkout = Checkout(tmp_path, GRACE_SECONDS=600)
  checkout.plan(training=["ignore"])
  process = start(checkout)
  process.send_signal(signal.SIGINT)
  wait_for(lambda: len(checkout.records("ignore")) == 2)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=TIMEOUT_S) == 130
  wait_until_ended(checkout)


def start(checkout):
  """Starts two processes and returns the script's Popen once both are training."""
  process = checkout.start("local.sh", 2)
  for _ in range(2):
    assert process.stdout.readline() == "training\n"
  return process
