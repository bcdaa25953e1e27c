"""Shared by the benchmark scripts: memory, medians, the line of JSON."""

import json
import platform
import resource
import statistics
import sys
import time


def _status(field):
  with open("/proc/self/status") as handle:
    for line in handle:
      if line.startswith(field + ":"):
        return int(line.split()[1]) / 1024
  raise KeyError(field)


def rss_mib():
  """Current resident memory, MiB."""
  return _status("VmRSS")


def peak_mib():
  """Peak resident memory of this process (since forget_peak), MiB."""
  try:
    return _status("VmHWM")
  except (OSError, KeyError):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak():
  """Resets the peak to the current memory (Linux); returns False if that is not possible."""
  try:
    with open("/proc/self/clear_refs", "w") as handle:
      handle.write("5")
    return True
  except OSError:
    return False


def available_mib():
  with open("/proc/meminfo") as handle:
    for line in handle:
      if line.startswith("MemAvailable:"):
        return int(line.split()[1]) / 1024
  return float("inf")


def spread(seconds):
  """Median, minimum and maximum of a list of seconds."""
  return {
    "median_s": round(statistics.median(seconds), 4),
    "min_s": round(min(seconds), 4),
    "max_s": round(max(seconds), 4),
    "n": len(seconds),
  }


def load_average():
  with open("/proc/loadavg") as handle:
    return float(handle.read().split()[0])


def machine():
  return {"python": platform.python_version(), "load_1min": load_average()}


def emit(results, out=None):
  """Prints the results of a script as one line of JSON."""
  print(json.dumps(results), file=out or sys.stdout, flush=True)


class Clock:
  """with Clock() as c: ...; c.seconds"""

  def __enter__(self):
    self._start = time.perf_counter()
    return self

  def __exit__(self, *_):
    self.seconds = time.perf_counter() - self._start
