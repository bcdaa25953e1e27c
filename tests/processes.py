"""Runs a command as several processes on this machine, each with its own virtual devices."""

import os
import pathlib
import socket
import subprocess
import tempfile
import time

from tests.commands import ROOT, environment
from tireid_jax.workdir.metric_log import read_metrics

# Ends a test whose run hangs; compilation on a busy machine may take minutes.
TIMEOUT_S = 600
# For processes with virtual devices. By default, XLA aborts when one device waits a minute for another, which also
# happens if the machine was paused, and it creates no more threads than there are devices.
COLLECTIVE_TIMEOUT_FLAG = f"--xla_cpu_collective_call_terminate_timeout_seconds={TIMEOUT_S}"
THREADS = {"NPROC": "32"}


def devices(number):
  """Returns XLA_FLAGS for a process with `number` virtual devices."""
  return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={number} {COLLECTIVE_TIMEOUT_FLAG}"


def free_port():
  """Returns a local port on which nothing listens."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def multiprocess_commands(arguments, *, number=2):
  """Returns a command's arguments for each of `number` processes, with flags that connect the processes."""
  coordinator = f"--coordinator=127.0.0.1:{free_port()}"
  return [[*arguments, coordinator, f"--num_processes={number}", f"--process_id={i}"] for i in range(number)]


class Processes:
  """A context manager that starts processes and, at the end, kills those that still run."""

  def __init__(self, commands, *, num_devices=1, variables=None):
    """Starts one process per command.

    Args:
      commands: argument list of each process.
      num_devices: number of virtual devices of each process.
      variables: additional environment variables of each process.
    """
    self._folder = tempfile.TemporaryDirectory()
    self.processes = []
    for number, arguments in enumerate(commands):
      changes = variables[number] if variables else {}
      with self._file(number, "stdout").open("w") as output, self._file(number, "stderr").open("w") as errors:
        self.processes.append(
          subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment(XLA_FLAGS=devices(num_devices), **THREADS, **changes),
            stdout=output,
            stderr=errors,
          )
        )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.processes:
      process.kill()
      process.wait()
    self._folder.cleanup()

  def _file(self, number, stream):
    return pathlib.Path(self._folder.name) / f"{number}.{stream}"

  def output(self, number):
    """Returns what a process has written to standard output so far."""
    return self._file(number, "stdout").read_text()

  def errors(self, number):
    """Returns what a process has written to standard error so far."""
    return self._file(number, "stderr").read_text()

  def _log_tails(self):
    return "\n".join(f"process {i}: {self.errors(i)[-3000:]}" for i in range(len(self.processes)))

  def wait(self, timeout_s=TIMEOUT_S):
    """Waits for all processes and returns their exit statuses; raises TimeoutExpired after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    return [process.wait(max(0.0, deadline - time.monotonic())) for process in self.processes]

  def succeed(self):
    """Waits for all processes, which must exit with status 0."""
    try:
      statuses = self.wait()
    except subprocess.TimeoutExpired as error:
      raise AssertionError(f"still running after {TIMEOUT_S} s: {self._log_tails()}") from error
    assert statuses == [0] * len(self.processes), self._log_tails()
    return self

  def wait_until(self, is_reached):
    """Waits until a condition holds; fails if a process ends before that."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_reached():
      assert all(process.poll() is None for process in self.processes), self._log_tails()
      assert time.monotonic() < deadline, self._log_tails()
      time.sleep(0.005)


def logged_step(stage_folder):
  """Returns the last step in a run's metric log, or 0."""
  records = read_metrics(stage_folder)
  return records[-1]["step"] if records else 0


def saved_step(stage_folder):
  """Returns the step of a run's newest complete checkpoint, or 0."""
  return max((int(path.name) for path in stage_folder.glob("checkpoints/*") if path.name.isdigit()), default=0)
