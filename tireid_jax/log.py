"""Figures of a run as JSON lines and as TensorBoard event files."""

import json
import pathlib
import time
from typing import Any

from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"


class MetricWriter:
  """Writes {"group/name": value} by step to FOLDER/metrics.jsonl and FOLDER/tensorboard. A context manager.

  Each write is flushed. A run that resumes drops what was written beyond the step it resumes from, so that every step
  stands there once.
  """

  def __init__(self, folder, *, first_step=0, enabled=True):
    """Opens the files of a stage's folder for the steps after `first_step`; writes nothing unless `enabled`."""
    self._file: Any = None
    self._events: Any = None
    if not enabled:
      return
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = [record for record in read_metrics(folder) if record["step"] <= first_step]
    self._before = kept[-1]["seconds"] if kept else 0.0
    path = folder / METRICS_FILE
    temporary = path.with_suffix(".kept")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
    temporary.replace(path)
    self._file = path.open("a")
    self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None)
    self._began = time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._file:
      self._file.close()
      self._events.close()

  def write(self, step, values):
    """Writes a line: step, seconds of running so far, and the values (floats)."""
    if not self._file:
      return
    seconds = round(self._before + time.monotonic() - self._began, 3)
    self._file.write(json.dumps({"step": step, "seconds": seconds, **values}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._events.add_scalar(name, value, step)
    self._events.flush()


def read_metrics(folder):
  """Returns the records of FOLDER/metrics.jsonl; a last line that was cut off by a kill is left out."""
  path = pathlib.Path(folder) / METRICS_FILE
  if not path.is_file():
    return []
  records = []
  for line in path.read_text().splitlines():
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return records
