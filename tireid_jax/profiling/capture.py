"""Traces a few steps of a stage for TensorBoard's profiler, and logs the most expensive operations."""

import contextlib
import pathlib
import re
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from tireid_jax.errors import UserError
from tireid_jax.parallel import distributed
from tireid_jax.profiling import trace
from tireid_jax.storage import files
from tireid_jax.terminal.progress import log_line
from tireid_jax.terminal.table import format_table

NUM_OPERATIONS = 10


class Window(NamedTuple):
  """The steps of a stage to trace: `steps` steps from step `start`, numbered from 1 as in the log."""

  start: int
  steps: int

  @property
  def last(self) -> int:
    return self.start + self.steps - 1

  def check(self, number: int, num_steps: int) -> None:
    """Raises ValueError if stage `number` ends before the first step."""
    if self.start > num_steps:
      raise UserError(
        f"--profile={self.start}:{self.steps} starts after the end of stage {number}, which has {num_steps} steps"
      )


def parse(flag: str) -> Window | None:
  """Returns the Window of --profile=FLAG, or None if the flag is empty."""
  if not flag:
    return None
  found = re.fullmatch(r"([0-9]+):([0-9]+)", flag)
  if not found or not int(found[1]) or not int(found[2]):
    raise UserError(f"--profile={flag} must be START:STEPS, two whole numbers from 1, as 100:5")
  return Window(int(found[1]), int(found[2]))


class Profile:
  """Traces the steps of a window. A context manager, which stops a running trace on exit, and the last training hook.

  Only process 0 traces, and only its own devices, since the others compute the same. The trace is written to a
  temporary folder and copied to FOLDER/tensorboard/plugins/profile/TIME when it is complete.
  """

  def __init__(self, window, folder, log, *, number, first_step):
    """Prepares the trace.

    Args:
      window: Window, or None for no trace.
      folder: of the stage.
      log: hooks.Log, whose throughput excludes the time for writing the trace.
      number: of the stage.
      first_step: number of steps completed before this run.
    """
    self._folder, self._log, self._number = folder / "tensorboard", log, number
    self._window = window if distributed.is_first() else None
    self._temporary: Any = None
    self._latest = None
    if self._window and self._window.last <= first_step:
      log_line(f"stage {number}: nothing is profiled, since the steps of --profile are complete")
      self._window = None

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if self._temporary:
      self._end(reports=kind in (None, SystemExit))

  @contextlib.contextmanager
  def step(self, number: int) -> Iterator[None]:
    """Annotates the enclosed work as step `number`, counted from 1, if that step is traced."""
    if self._window is None or not self._window.start <= number <= self._window.last:
      yield
      return
    if not self._temporary:
      self._begin()
    with jax.profiler.StepTraceAnnotation(trace.STEP, step_num=number):
      yield
    if number == self._window.last:
      self._end()

  def __call__(self, step, state, metrics):
    self._latest = metrics

  def _begin(self):
    jax.block_until_ready(self._latest)  # otherwise earlier steps that are still in flight would be traced
    self._temporary = tempfile.TemporaryDirectory()
    jax.profiler.start_trace(self._temporary.name, profiler_options=trace.options())

  def _end(self, *, reports=True):
    if reports:  # after an error, waiting for the device could raise another
      jax.block_until_ready(self._latest)
    began = time.monotonic()
    jax.profiler.stop_trace()
    with self._temporary as temporary:
      _copy(pathlib.Path(temporary), self._folder)
      if reports:
        log_line(self._report(trace.lines(temporary)))
    self._temporary = self._window = None
    self._log.pause(time.monotonic() - began)

  def _report(self, lines):
    steps = trace.num_steps(lines)
    head = f"stage {self._number}: {steps} step(s) profiled; tensorboard --logdir={self._folder} shows the trace"
    if jax.default_backend() == "tpu":
      return f"{head}\nfor TPUs, python -m tireid_jax.plan shows the compiler's estimate of each operation"
    return f"{head}\n{_table(trace.operations(lines, trace.compiled_programs()), steps)}"


def _table(operations, steps):
  """Returns the most expensive operations as text, with their fractions of all operations' time."""
  if not operations:
    return "the trace holds no operation of a device"
  total, each = sum(operation.seconds for operation in operations), steps * jax.local_device_count()
  rows = [
    {
      "most expensive operations": operation.source,
      "runs a step": operation.runs / each,
      "ms a step": 1e3 * operation.seconds / each,
      "fraction": f"{operation.seconds / total:.1%}",
    }
    for operation in operations[:NUM_OPERATIONS]
  ]
  return f"{format_table(rows)}\nall operations: {1e3 * total / each:.2f} ms of a device's time a step"


def _copy(source, target):
  """Copies the files below a folder."""
  for file in source.rglob("*"):
    if file.is_file():
      files.write_bytes(target / file.relative_to(source).as_posix(), file.read_bytes())
