"""Figures of a run as JSON lines and as TensorBoard event files."""

import concurrent.futures
import json
import pathlib
import tempfile
import time
from typing import Any

from tensorboardX import SummaryWriter

from tireid_jax import storage

METRICS_FILE, EVENTS_FOLDER = "metrics.jsonl", "tensorboard"


class MetricWriter:
  """Writes {"group/name": value} by step to FOLDER/metrics.jsonl and FOLDER/tensorboard. A context manager.

  On a disk these are a file that grows and a folder of event files, and each write is flushed. In a bucket, where no
  object can grow, each write makes an object in both folders. A run that resumes drops what was written beyond the
  step it resumes from, so that every step stands there once.
  """

  def __init__(self, folder, *, first_step=0, enabled=True):
    """Opens the log of a stage's folder for the steps after `first_step`; writes nothing unless `enabled`."""
    self._log: Any = None
    if not enabled:
      return
    folder = storage.to_path(folder)
    kept = [record for record in read_metrics(folder) if record["step"] <= first_step]
    self._before = kept[-1]["seconds"] if kept else 0.0
    kind = _Objects if storage.is_remote(folder) else _Files
    self._log = kind(folder, kept, first_step)
    self._began = time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._log:
      self._log.close()

  def write(self, step, values):
    """Writes a line: step, seconds of running so far, and the values (floats)."""
    if not self._log:
      return
    seconds = round(self._before + time.monotonic() - self._began, 3)
    self._log.write({"step": step, "seconds": seconds, **values}, values)

  def wait(self):
    """Returns once all lines are stored."""
    if self._log:
      self._log.wait()


class _Files:
  """The log on a disk."""

  def __init__(self, folder, kept, first_step):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / METRICS_FILE
    temporary = path.with_suffix(".kept")
    temporary.write_text("".join(map(_line, kept)))
    temporary.replace(path)
    self._file = path.open("a")
    events = folder / EVENTS_FOLDER
    # Also at step 0: a run killed before its first checkpoint has left events, too.
    purge_step = first_step + 1 if events.is_dir() else None
    self._events = SummaryWriter(str(events), purge_step=purge_step)

  def write(self, record, values):
    self._file.write(_line(record))
    self._file.flush()
    for name, value in values.items():
      self._events.add_scalar(name, value, record["step"])
    self._events.flush()

  def wait(self):
    pass

  def close(self):
    self._file.close()
    self._events.close()


class _Objects:
  """The log in a bucket. Names begin with the step, so that their order is that of the lines."""

  def __init__(self, folder, kept, first_step):
    del kept
    self._folder = folder
    # A TensorBoard that is running has read what is dropped here.
    self._purge_step = first_step + 1 if storage.list_objects(folder / EVENTS_FOLDER) else None
    for name in (METRICS_FILE, EVENTS_FOLDER):
      # The last one first, so that what is left after a kill is still a log without gaps.
      for path in reversed(storage.list_objects(folder / name)):
        if _step(path.name) > first_step:
          path.unlink()
    self._last, self._count = 0, 0
    # One at a time, and no step waits for it.
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._pending: Any = None

  def write(self, record, values):
    self.wait()
    step = record["step"]
    self._count = self._count + 1 if step == self._last else 0  # validation has a line of its own
    self._last = step
    name = f"{step:09d}-{self._count}"
    self._pending = self._thread.submit(self._store, name, record, values, self._purge_step)
    self._purge_step = None

  def _store(self, name, record, values, purge_step):
    storage.write_bytes(self._folder / METRICS_FILE / f"{name}.jsonl", _line(record).encode())
    # TensorBoard goes from one file to the next by name.
    path = self._folder / EVENTS_FOLDER / f"events.out.tfevents.{name}"
    storage.write_bytes(path, _events(record["step"], values, purge_step))

  def wait(self):
    pending, self._pending = self._pending, None
    if pending:
      pending.result()

  def close(self):
    try:
      self.wait()
    finally:
      self._thread.shutdown()


def _step(name):
  """Returns the step in an object's name."""
  return int(name.removeprefix("events.out.tfevents.").partition("-")[0])


def _events(step, values, purge_step):
  """Returns an event file's bytes, of one step."""
  with tempfile.TemporaryDirectory() as folder:
    with SummaryWriter(folder, purge_step=purge_step) as writer:
      for name, value in values.items():
        writer.add_scalar(name, value, step)
    (file,) = pathlib.Path(folder).iterdir()
    return file.read_bytes()


def _line(record):
  return json.dumps(record) + "\n"


def read_metrics(folder):
  """Returns the records of a stage's metrics, as one sequence wherever they are stored.

  A last line that was cut off by a kill is left out.
  """
  path = storage.to_path(folder) / METRICS_FILE
  if storage.is_remote(path):
    text = b"".join(storage.read_objects(path)).decode()
  else:
    text = path.read_text() if path.is_file() else ""
  records = []
  for line in text.splitlines():
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return records
