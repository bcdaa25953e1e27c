"""Runs one input within limits of time and memory, and says what is wrong with how it ended."""

import contextlib
import pathlib
import re
import resource
import signal
import time
import traceback

from tireid_jax.errors import UserError

MAX_SECONDS, MAX_BYTES = 10, 2**30
# Beyond this a process may not map more, so that an input that asks for everything does not get it.
_MAX_MAPPED_BYTES = 2**33
# An error is one line that a person reads.
_MAX_MESSAGE = 2000
_OURS = "tireid_jax"


class OutOfTime(BaseException):
  """Raised in an input that takes more than MAX_SECONDS of processor time; no `except Exception` takes it."""


@contextlib.contextmanager
def timed():
  """Lets `judge` end what takes too long."""

  def expire(*_):
    raise OutOfTime(f"more than {MAX_SECONDS} s")

  before = signal.signal(signal.SIGPROF, expire)
  try:
    yield
  finally:
    signal.signal(signal.SIGPROF, before)


def limit():
  """Bounds the memory of this process."""
  mapped = _MAX_MAPPED_BYTES + int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (mapped, mapped))


def judge(run, data):
  """Returns (fault, how it ended): "" or what is wrong with `run(data)`, and a name for the line that ended it."""
  before = _reset_peak()
  start = time.process_time()
  signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
  try:
    run(data)
    fault, end = "", "accepted"
  except UserError as error:
    fault, end = "", _line_of(error)
    if not str(error).strip() or len(str(error)) > _MAX_MESSAGE:
      fault = f"an error of {len(str(error))} letters: {str(error)[:100]!r}"
  except (Exception, OutOfTime) as error:
    fault = f"{type(error).__name__} at {_line_of(error)}"
    end = fault
    _show(error)
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
  if not fault and time.process_time() - start > MAX_SECONDS:
    fault = f"took {time.process_time() - start:.0f} s until {end}"
  if not fault and _peak() - before > MAX_BYTES:
    fault = f"took {(_peak() - before) / 2**20:.0f} MiB until {end}"
  return fault, end


def _show(error):
  traceback.print_exception(error, limit=-12)


def _line_of(error):
  """Returns FILE:LINE of the innermost frame of ours."""
  frames = traceback.extract_tb(error.__traceback__)
  ours = [frame for frame in frames if _OURS in pathlib.Path(frame.filename).parts] or frames
  return f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "nowhere"


def _reset_peak():
  """Returns this process' resident bytes; its peak counts from here."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  return _peak()


def _peak():
  return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
