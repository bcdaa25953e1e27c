"""Training metrics as JSON lines and as TensorBoard event files."""

import concurrent.futures
import json
import os
import pathlib
import tempfile
import time
from typing import Any

from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from tireid_jax.errors import naming
from tireid_jax.storage import files, gcs, locations
from tireid_jax.storage.locations import Path
from tireid_jax.terminal.progress import log_line

METRICS_FILE, EVENTS_FOLDER = "metrics.jsonl", "tensorboard"


class MetricWriter:
  """Writes {"group/name": value} by step to FOLDER/metrics.jsonl and FOLDER/tensorboard. A context manager.

  On a disk these are a file that is appended to and a folder of event files, flushed at each write. In a bucket, where
  objects cannot be appended to, each write creates an object in both folders. A run that resumes drops records after
  the step from which it resumes, so that each step is recorded once.
  """

  def __init__(self, folder: str | Path, *, first_step: int = 0, enabled: bool = True):
    """Opens the log in a stage's folder for steps after `first_step`; writes nothing unless `enabled`."""
    self._log: Any = None
    if not enabled:
      return
    folder = locations.to_path(folder)
    kept = [record for record in read_metrics(folder) if record["step"] <= first_step]
    self._before = kept[-1]["seconds"] if kept else 0.0
    kind = _Objects if locations.is_remote(folder) else _Files
    self._log = kind(folder, kept, first_step)
    self._began = time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._log:
      self._log.close()

  def write(self, step: int, values: dict[str, float]) -> None:
    """Writes a record: step, training time so far in seconds, and the values."""
    if not self._log:
      return
    seconds = round(self._before + time.monotonic() - self._began, 3)
    self._log.write({"step": step, "seconds": seconds, **values}, values)

  def wait(self) -> None:
    """Waits until all records are stored."""
    if self._log:
      self._log.wait()


class _Files:
  """The log on a disk."""

  def __init__(self, folder, kept, first_step):
    self._path = folder / METRICS_FILE
    files.write_bytes(self._path, "".join(map(_line, kept)).encode())
    with naming(self._path):
      self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
    events = folder / EVENTS_FOLDER
    # Also at step 0: a run that was killed before its first checkpoint has left events.
    self._events = _Events(events, first_step + 1 if events.is_dir() else None)

  def write(self, record, values):
    line = _line(record).encode()
    with naming(self._path):
      # One unbuffered write: a buffer would be written again when the file is closed.
      if os.write(self._descriptor, line) < len(line):
        os.write(self._descriptor, b"\n")  # raises the error that cut the write short, if it persists
        raise OSError(f"{self._path}: a line was not written whole")
    self._events.write(record["step"], values)

  def wait(self):
    pass

  def close(self):
    os.close(self._descriptor)
    self._events.close()


class _Events:
  """A TensorBoard event file. tensorboardX's own writer thread never ends if the disk is full."""

  def __init__(self, folder, purge_step):
    """Opens a new file in a folder; TensorBoard drops events of other files there from `purge_step` on."""
    self._folder = folder
    with naming(folder):
      folder.mkdir(parents=True, exist_ok=True)
      self._writer = event_file_writer.EventsWriter(str(folder / "events"))
      if purge_step is not None:
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(event_pb2.Event(step=purge_step, wall_time=time.time(), file_version="brain.Event:2"))
        self._writer.write_event(event_pb2.Event(step=purge_step, wall_time=time.time(), session_log=start))
      self._writer.flush()

  def write(self, step, values):
    """Writes scalars and flushes them."""
    with naming(self._folder):
      for name, value in values.items():
        scalar = summary.scalar(name, value)
        self._writer.write_event(event_pb2.Event(step=step, wall_time=time.time(), summary=scalar))
      self._writer.flush()

  def close(self):
    with naming(self._folder):
      self._writer.close()


class _Objects:
  """The log in a bucket. Names start with the step, so that they sort in the order of the records."""

  def __init__(self, folder, kept, first_step):
    del kept
    self._folder = folder
    # A running TensorBoard has already read what is dropped here.
    self._purge_step = first_step + 1 if gcs.list_objects(folder / EVENTS_FOLDER) else None
    for name in (METRICS_FILE, EVENTS_FOLDER):
      # Last one first, so that a kill in the meantime leaves a log without gaps.
      for path in reversed(gcs.list_objects(folder / name)):
        if _step(path.name) > first_step:
          path.unlink()
    self._last, self._count = 0, 0
    # One write at a time, in the background.
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._pending: Any = None

  def write(self, record, values):
    self.wait()
    step = record["step"]
    self._count = self._count + 1 if step == self._last else 0  # validation writes a second record for its step
    self._last = step
    name = f"{step:09d}-{self._count}"
    self._pending = self._thread.submit(self._store, name, record, values, self._purge_step)
    self._purge_step = None

  def _store(self, name, record, values, purge_step):
    files.write_bytes(self._folder / METRICS_FILE / f"{name}.jsonl", _line(record).encode())
    # TensorBoard reads the files in order of their names.
    path = self._folder / EVENTS_FOLDER / f"events.out.tfevents.{name}"
    files.write_bytes(path, _events(record["step"], values, purge_step))

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
  """Returns the bytes of an event file with one step."""
  with naming(tempfile.gettempdir()), tempfile.TemporaryDirectory() as folder:
    events = _Events(pathlib.Path(folder), purge_step)
    events.write(step, values)
    events.close()
    (file,) = pathlib.Path(folder).iterdir()
    return file.read_bytes()


def _line(record):
  return json.dumps(record) + "\n"


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
  """Returns the metric records of a stage, from a disk or a bucket.

  A last line that a kill has cut off is skipped, and so are damaged lines, whose number is logged.
  """
  path = locations.to_path(folder) / METRICS_FILE
  if locations.is_remote(path):
    text = b"".join(gcs.read_objects(path))
  else:
    with naming(path):
      text = path.read_bytes() if path.is_file() else b""
  *whole, _ = lines = text.split(b"\n")
  records = [record for line in lines if (record := _record(line))]
  damaged = sum(1 for line in whole if line and not _record(line))
  if damaged:
    log_line(f"{path}: {damaged} damaged lines are skipped")
  return records


def _record(line):
  """Returns the record in a line, or None if it is cut off or damaged."""
  try:
    record = json.loads(line)
    return {**record, "step": int(record["step"]), "seconds": float(record["seconds"])}
  except (ValueError, KeyError, TypeError):
    return None
