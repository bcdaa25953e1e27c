"""Runs a command as several processes on this machine, each with virtual devices of its own."""

import os
import pathlib
import socket
import subprocess
import tempfile
import time

from tests.commands import ROOT, environment
from tireid_jax.workdir.metric_log import read_metrics

# A test ends here where a run hangs; what may take long is compiling on a busy machine.
TIMEOUT_S = 600
# Of a process with virtual devices. By itself XLA ends it when one device waits a minute for another, which a machine
# that stood still for a while brings about by itself, and gives it no more threads than devices.
PATIENCE = f"--xla_cpu_collective_call_terminate_timeout_seconds={TIMEOUT_S}"
THREADS = {"NPROC": "32"}


def devices(number):
  """Returns the XLA_FLAGS of a process with so many virtual devices."""
  return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={number} {PATIENCE}"


def free_port():
  """Returns a port of this machine that nobody listens at."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def by_hand(arguments, *, number=2):
  """Returns a command's arguments for each of N processes, told of each other by flags."""
  coordinator = f"--coordinator=127.0.0.1:{free_port()}"
  return [[*arguments, coordinator, f"--num_processes={number}", f"--process_id={i}"] for i in range(number)]


class Processes:
  """Processes that were started. A context manager that leaves none behind."""

  def __init__(self, commands, *, num_devices=1, variables=None):
    """Starts them.

    Args:
      commands: argument list of each.
      num_devices: virtual devices of each.
      variables: further environment variables of each.
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
    """Returns what a process has written to standard output."""
    return self._file(number, "stdout").read_text()

  def errors(self, number):
    """Returns what a process has written to standard error."""
    return self._file(number, "stderr").read_text()

  def _told(self):
    return "\n".join(f"process {i}: {self.errors(i)[-3000:]}" for i in range(len(self.processes)))

  def wait(self, timeout_s=TIMEOUT_S):
    """Returns the exit status of each, once all have ended; raises TimeoutExpired if they have not by then."""
    deadline = time.monotonic() + timeout_s
    return [process.wait(max(0.0, deadline - time.monotonic())) for process in self.processes]

  def succeed(self):
    """Waits for all of them to end well."""
    try:
      ends = self.wait()
    except subprocess.TimeoutExpired as error:
      raise AssertionError(f"after {TIMEOUT_S} s they have not ended: {self._told()}") from error
    assert ends == [0] * len(self.processes), self._told()
    return self

  def wait_until(self, is_reached):
    """Waits until a condition holds; all processes must still be running then."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_reached():
      assert all(process.poll() is None for process in self.processes), self._told()
      assert time.monotonic() < deadline, self._told()
      time.sleep(0.005)


def logged_step(stage_folder):
  """Returns the last step in a run's log, or 0."""
  records = read_metrics(stage_folder)
  return records[-1]["step"] if records else 0


def saved_step(stage_folder):
  """Returns the step of a run's newest checkpoint that is complete, or 0."""
  return max((int(path.name) for path in stage_folder.glob("checkpoints/*") if path.name.isdigit()), default=0)
