"""Memory, medians and JSON output for all benchmarks."""

import json
import os
import pathlib

import numpy as np


def memory_mib(field):
  """Returns a value of /proc/self/status in MiB: VmRSS is the current memory of this process, VmHWM its peak."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(next(line for line in status.splitlines() if line.startswith(f"{field}:")).split()[1]) / 2**10


def forget_peak():
  """Resets the peak memory of this process, which it otherwise inherits from its parent."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")


def spread(seconds):
  """Returns {"median_s", "min_s", "max_s", "n"} of a list of seconds."""
  return {"median_s": float(np.median(seconds)), "min_s": min(seconds), "max_s": max(seconds), "n": len(seconds)}


def emit(**results):
  """Prints a benchmark's results and the machine's load as one line of JSON."""
  print(json.dumps({**results, "load_1min": os.getloadavg()[0]}), flush=True)
