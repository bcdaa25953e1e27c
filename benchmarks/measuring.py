"""What every benchmark reads and prints."""

import json
import os
import pathlib

import numpy as np


def memory_mib(field):
  """Returns a figure of Linux' about this process: VmRSS is its memory now, VmHWM the most that it has had."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(next(line for line in status.splitlines() if line.startswith(f"{field}:")).split()[1]) / 2**10


def forget_peak():
  """Counts the peak of this process' memory from here; it starts with that of the process that started it."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")


def spread(seconds):
  """Returns {"median_s", "min_s", "max_s", "n"} of a list of seconds."""
  return {"median_s": float(np.median(seconds)), "min_s": min(seconds), "max_s": max(seconds), "n": len(seconds)}


def emit(**figures):
  """Prints the one line of JSON that a benchmark ends with, and the machine's load."""
  print(json.dumps({**figures, "load_1min": os.getloadavg()[0]}), flush=True)
