"""Runs one input within limits of time and memory, and classifies the outcome."""

import contextlib
import pathlib
import re
import resource
import signal
import time
import traceback

from tireid_jax.errors import UserError

MAX_SECONDS, MAX_BYTES = 10, 2**30
# Address space that a process may map beyond its present size, so that huge allocations fail.
_MAX_MAPPED_BYTES = 2**33
# In characters: an error message must be one readable line.
_MAX_MESSAGE = 2000
_OURS = "tireid_jax"


class OutOfTime(BaseException):
  """Raised while reading an input after MAX_SECONDS of CPU time; `except Exception` does not catch it."""


@contextlib.contextmanager
def timed():
  """Lets `judge` interrupt inputs that take too long."""

  def expire(*_):
    raise OutOfTime(f"more than {MAX_SECONDS} s")

  before = signal.signal(signal.SIGPROF, expire)
  try:
    yield
  finally:
    signal.signal(signal.SIGPROF, before)


def limit():
  """Limits the memory of this process."""
  mapped = _MAX_MAPPED_BYTES + int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (mapped, mapped))


def judge(run, data):
  """Returns (fault of `run(data)` or "", outcome: "accepted" or the line that raised)."""
  before = _reset_peak()
  start = time.process_time()
  signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
  try:
    run(data)
    fault, outcome = "", "accepted"
  except UserError as error:
    fault, outcome = "", _line_of(error)
    if not str(error).strip() or len(str(error)) > _MAX_MESSAGE:
      fault = f"an error of {len(str(error))} letters: {str(error)[:100]!r}"
  except (Exception, OutOfTime) as error:
    fault = f"{type(error).__name__} at {_line_of(error)}"
    outcome = fault
    _show(error)
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
  if not fault and time.process_time() - start > MAX_SECONDS:
    fault = f"took {time.process_time() - start:.0f} s until {outcome}"
  if not fault and _peak() - before > MAX_BYTES:
    fault = f"took {(_peak() - before) / 2**20:.0f} MiB until {outcome}"
  return fault, outcome


def _show(error):
  traceback.print_exception(error, limit=-12)


def _line_of(error):
  """Returns FILE:LINE of the innermost frame in this project."""
  frames = traceback.extract_tb(error.__traceback__)
  ours = [frame for frame in frames if _OURS in pathlib.Path(frame.filename).parts] or frames
  return f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "nowhere"


def _reset_peak():
  """Resets the peak memory of this process and returns its resident bytes."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  return _peak()


def _peak():
  return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
