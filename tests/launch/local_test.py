"""Processes on this machine: what they are given, and that none outlives the script."""

import os
import signal

import pytest

from tests.launch.checkout import OVERRIDES, TIMEOUT_S, Checkout, ended, wait_for


def test_each_process_is_told_which_it_is_and_gets_the_overrides_as_they_are(tmp_path):
  checkout = Checkout(tmp_path, FLAGS=OVERRIDES)
  assert checkout.run("local.sh", 3, "--config.seed=1").returncode == 0
  assert sorted(call[-7:] for call in checkout.calls("trainer")) == [
    [*OVERRIDES, "--config.seed=1", "--multihost", "--coordinator=127.0.0.1:8476", "--num_processes=3",
     f"--process_id={process}"]
    for process in range(3)
  ]  # fmt: skip


@pytest.mark.parametrize(("others", "grace_seconds"), [("hang", 3600), ("deaf", 1)])
def test_the_first_failure_ends_the_others_and_is_the_status(tmp_path, others, grace_seconds):
  checkout = Checkout(tmp_path, GRACE_SECONDS=grace_seconds)
  checkout.plan(training=[[others, 3, others]])
  done = checkout.run("local.sh", 3)
  assert done.returncode == 3
  assert "process 1 exited with status 3" in done.stderr
  ended(checkout)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_all(tmp_path, sent, status):
  checkout = Checkout(tmp_path)
  checkout.plan(training=["hang"])
  process = start(checkout)
  os.killpg(process.pid, sent)  # as a terminal does: to the whole group
  assert process.wait(timeout=TIMEOUT_S) == status
  ended(checkout)


def test_processes_that_end_while_the_script_takes_the_signal_are_not_waited_for(tmp_path):
  checkout = Checkout(tmp_path)
  (checkout.folder / ".venv/bin/python").write_text("#!/bin/sh\necho training\nexec sleep 600\n")  # ends at once
  for _ in range(40):  # it is a matter of milliseconds
    process = start(checkout)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT_S) == 143


def test_a_second_signal_kills_what_the_first_did_not_end(tmp_path):
  checkout = Checkout(tmp_path, GRACE_SECONDS=600)
  checkout.plan(training=["deaf"])
  process = start(checkout)
  process.send_signal(signal.SIGINT)
  wait_for(lambda: len(checkout.records("deaf")) == 2)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=TIMEOUT_S) == 130
  ended(checkout)


def start(checkout):
  """Starts two processes and returns the script's Popen once both train."""
  process = checkout.start("local.sh", 2)
  for _ in range(2):
    assert process.stdout.readline() == "training\n"
  return process
