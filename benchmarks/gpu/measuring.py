"""Runs groups of measurements in separate processes, each until it is done or its time is up."""

import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

from benchmarks.gpu import caches, results

ROOT = pathlib.Path(__file__).parents[2]
PEER = ROOT / "benchmarks/peer"
# Fraction of the GPU memory that JAX preallocates. The default, 0.75, would limit the batch size.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"}
# The short form only has to run, not to be fast.
SHORT_ENVIRONMENT = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}


class Lines:
  """The lines that a process prints until a deadline; a context manager that ends the process and its children."""

  def __init__(self, command, *, environment, cwd, deadline):
    self._deadline = deadline
    self._process = subprocess.Popen(
      command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    self._lines: queue.Queue = queue.Queue()
    self._errors: list[str] = []
    self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors)]
    for thread in self._threads:
      thread.start()

  def _read(self):
    for line in self._process.stdout:
      self._lines.put(line)
    self._lines.put(None)

  def _read_errors(self):
    for line in self._process.stderr:
      sys.stderr.write(line)
      self._errors = [*self._errors[-20:], line.strip()]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._process.poll() is None:
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()
    for thread in self._threads:
      thread.join(timeout=10)

  def __iter__(self):
    """Yields the lines; raises TimeoutError at the deadline."""
    while True:
      try:
        line = self._lines.get(timeout=max(0.0, self._deadline - time.monotonic()))
      except queue.Empty:
        raise TimeoutError from None
      if line is None:
        return
      yield line

  def failure(self):
    """Returns why the process failed, "" if it did not. Called after it has closed its output."""
    status = self._process.wait()
    self._threads[1].join(timeout=10)
    if status == 0:
      return ""
    return f"the process ended with status {status}: {next(filter(None, reversed(self._errors)), 'no output')}"


def ours(args, group, found, folder, deadline):
  """Runs measurements of this project with benchmarks.gpu.worker; after a crash it continues with the next one.

  Args:
    args: of the command.
    group: [Measurement] to run, in this order.
    found: Results, to which they are added.
    folder: of the caches.
    deadline: as a value of `time.monotonic`.

  Raises:
    ValueError: there is no GPU, or a different one than in --skip.
  """
  left = [one.key for one in group]
  while left and time.monotonic() < deadline:
    command = [sys.executable, "-m", "benchmarks.gpu.worker", f"--cache={folder}", *(["--short"] * args.short), *left]
    environment = SHORT_ENVIRONMENT if args.short else ENVIRONMENT
    with Lines(command, environment=environment, cwd=ROOT, deadline=deadline) as lines:
      begun: list[str] = []
      try:
        for line in lines:
          message = _parsed(line)
          if "machine" in message:
            _check_machine(message["machine"], args, found)
          elif "begin" in message:
            begun.append(message["begin"])
          elif "row" in message:
            _add(found, message["row"], message["result"])
            begun, left = ([key for key in keys if key != message["row"]] for keys in (begun, left))
        failure = lines.failure()
      except TimeoutError:
        break
    if not failure:  # the rest was not tried, since a smaller batch did not fit
      for key in left:
        _add(found, key, {"status": results.NOT_RUN, "reason": "a smaller batch did not fit"})
      return
    if not begun:
      begun = left[:1]
    for key in begun[:1]:
      _add(found, key, {"status": results.FAILED, "reason": failure})
    left = [key for key in left if key != begun[0]]
  _out_of_time(found, left)


def _parsed(line):
  """Returns the object of a line of JSON; {} for any other line, since libraries may print some."""
  try:
    message = json.loads(line)
  except ValueError:
    return {}
  return message if isinstance(message, dict) else {}


def _check_machine(machine, args, found):
  if machine["platform"] != "gpu" and not args.short:
    raise ValueError(
      f"there is no GPU here: JAX computes on {machine['platform']} ({machine['runtime'] or 'no runtime'}); "
      f"--short runs a short form of everything on a CPU"
    )
  if found.run not in found.machines:
    found.add_machine(machine)


def peer(args, group, found, folder, deadline):
  """Runs measurements of the reference, each in its own process; arguments as for `ours`."""
  if not args.peer:
    for one in group:
      _add(found, one.key, {"status": results.NOT_RUN, "reason": "no --peer was given"})
    return
  environment = {**caches.environment(folder), "IRRA_DIR": str(args.peer.absolute())}
  for number, one in enumerate(group):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in one.settings.items()]
    if args.short:
      flags.append("--device=cpu")
    command = [args.peer_python, "gpu_step.py", *flags]
    with Lines(command, environment=environment, cwd=PEER, deadline=deadline) as lines:
      try:
        output = list(lines)
        failure = lines.failure()
      except TimeoutError:
        _out_of_time(found, [left.key for left in group[number:]])
        return
    values = _parsed(output[-1]) if output else {}
    if not failure and not values:
      failure = "the process printed no result"
    result = {"status": results.FAILED, "reason": failure} if failure else {"status": results.DONE, **values}
    _add(found, one.key, {**result, "settings": one.settings})


def _out_of_time(found, keys):
  for number, key in enumerate(keys):
    reason = "it was not done when the part's time was up" if number == 0 else "the part's time was up"
    _add(found, key, {"status": results.NOT_RUN, "reason": reason})


def _add(found, key, result):
  found.add(key, result)
  shown = {name: value for name, value in result.items() if name not in ("settings", "operations", "status")}
  print(f"{key}: {result['status']} {json.dumps(shown)[:300]}", file=sys.stderr, flush=True)
