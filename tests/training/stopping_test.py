"""Signals stop a run after the current step."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tireid_jax.training import stopping


@pytest.mark.parametrize(
  ("sent", "status"),
  [
    ([signal.SIGTERM], 143),
    ([signal.SIGINT], 130),
    ([signal.SIGTERM, signal.SIGINT], 130),
    ([signal.SIGINT, signal.SIGTERM], 130),
  ],
)
def test_a_signal_requests_a_stop_and_determines_the_exit_status(sent, status):
  before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with stopping.StopRequest() as stop:
    assert not stop.after_step()
    for number in sent:
      os.kill(os.getpid(), number)
    assert stop.after_step()
    assert stop.by_now()
    assert stop.status() == status
  assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_exits_immediately():
  script = """
import os, signal
from tireid_jax.training import stopping
with stopping.StopRequest():
  os.kill(os.getpid(), signal.SIGINT)
  print("goes on", flush=True)
  os.kill(os.getpid(), signal.SIGINT)
  print("not reached", flush=True)
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (130, "goes on\n")
  assert "Ctrl-C again ends at once, without saving" in done.stderr
  assert done.stderr.endswith("interrupted\n")


def test_ctrl_c_stays_ignored_if_the_shell_ignores_it():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with stopping.StopRequest() as stop:
      os.kill(os.getpid(), signal.SIGINT)
      assert not stop.after_step()
  finally:
    signal.signal(signal.SIGINT, before)


def test_training_in_another_thread_works_without_signal_handlers():
  stopped = []

  def train_in_thread():
    with stopping.StopRequest() as stop:
      stopped.append(stop.after_step())

  thread = threading.Thread(target=train_in_thread)
  thread.start()
  thread.join()
  assert stopped == [False]
