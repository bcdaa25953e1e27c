"""Storage of a lock: a file, which the kernel can lock as well, or an object in a bucket."""

import contextlib
import dataclasses
import fcntl
import os
import tempfile

from tireid_jax.storage import gcs, lock_holder

# Timeout of a request to a bucket.
_TIMEOUT_S = 10
# Attempts to open a file or object that other processes create and delete concurrently.
_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True)
class Seen:
  """The lock of another process, as last read.

  Attributes:
    record: stored bytes.
    age_s: seconds since they were written, by the clock of the file system or bucket, which all hosts share.
    kernel: True if the kernel has granted this process its lock on the file, False if another process has that, None
      if there are no kernel locks.
    generation: of the object in a bucket.
  """

  record: bytes
  age_s: float
  kernel: bool | None = None
  generation: int = 0


class File:
  """A lock in a file on a disk. Releasing it removes the file, and the folders created for it if they are empty.

  The kernel's lock on the file ends with the process. It may cover the processes of this host only, as under FUSE and
  some NFS mounts, which is why the record counts as well.
  """

  def __init__(self, path):
    self._path = path
    self._made: list = []
    self._descriptor: int | None = None
    self._kernel: bool | None = False

  def take(self, own, num_refreshed=0, over=None):
    """Returns None if this process now has the lock, otherwise the Seen lock of another.

    Args:
      own: Holder of this process.
      num_refreshed: as for `Holder.record`.
      over: stale Seen lock to replace, if it is still there.

    Raises:
      OSError: the file cannot be written.
    """
    if over is not None and over.kernel is False:
      self._remove(over.record)  # of a host that went down; a file server may hold its lock forever
    self._open()
    record, written = self._read()
    is_free = not record.strip() or (over is not None and record == over.record)
    if self._kernel is False or not is_free:
      return Seen(record, self._now() - written if _is_far(record) else 0.0, self._kernel)
    self._write(own.record(num_refreshed))
    return None

  def refresh(self, own, num_refreshed):
    """Writes the record again; returns whether this process still has the lock."""
    found = lock_holder.read(self._read()[0])
    if found is None:  # someone removed the file
      return self.take(own, num_refreshed) is None
    if found.token != own.token:
      return False
    self._write(own.record(num_refreshed))
    return True

  def release(self, own):
    """Removes the lock if this process has it."""
    with contextlib.suppress(OSError):
      record = self._read()[0]
      found = lock_holder.read(record)
      if found.token == own.token if found else self._kernel and not record.strip():
        self._path.unlink()
    self._close()
    for folder in self._made:
      with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()

  def found(self):
    """Returns the recorded Holder; None if there is none or it cannot be read."""
    with contextlib.suppress(OSError):
      return lock_holder.read(self._read()[0])

  def has_kernel_locks(self):
    """Returns whether the file system has locks; valid once the lock is acquired."""
    return self._kernel is not None

  def _open(self):
    """Opens the file that is at the path now, creates it if needed, and requests the kernel's lock."""
    for attempt in range(_ATTEMPTS):
      try:
        if self._descriptor is None:
          self._make_folder()
          self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        if not self._kernel:
          self._kernel = _flock(self._descriptor)
        if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
          return
      except FileNotFoundError:  # removed by whoever held the lock
        if attempt == _ATTEMPTS - 1:
          raise
      self._close()

  def _make_folder(self):
    folder = self._path.parent
    if not folder.is_dir():
      self._made += [path for path in (folder, *folder.parents) if not path.exists()]
      folder.mkdir(parents=True, exist_ok=True)

  def _close(self):
    if self._descriptor is not None:
      os.close(self._descriptor)
    self._descriptor, self._kernel = None, False

  def _read(self):
    """Returns (record, time of its last write). Reopens the file, since only that makes NFS query its server."""
    try:
      with open(self._path, "rb") as file:
        return file.read(lock_holder.RECORD_BYTES), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
      return b"", 0.0

  def _now(self):
    """Returns the current time by the clock of the file system."""
    with tempfile.TemporaryFile(dir=self._path.parent) as file:
      return os.fstat(file.fileno()).st_mtime

  def _write(self, record):
    assert self._descriptor is not None
    os.pwrite(self._descriptor, record, 0)
    os.fsync(self._descriptor)  # otherwise a network file system may delay it for half a minute

  def _remove(self, record):
    if self._read()[0] == record:
      with contextlib.suppress(FileNotFoundError):
        self._path.unlink()
    self._close()


def _flock(descriptor):
  """Requests the kernel's lock: True if granted, False if another process has it, None if there are no locks."""
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except BlockingIOError:
    return False
  except OSError:
    return None


class Object:
  """A lock in an object of a bucket, written only if its generation is the expected one."""

  def __init__(self, path):
    from google.cloud import storage as cloud
    from google.cloud.storage.retry import DEFAULT_RETRY

    self._patience = {"timeout": _TIMEOUT_S, "retry": DEFAULT_RETRY.with_timeout(2 * _TIMEOUT_S)}
    bucket, _, self._name = os.fspath(path).removeprefix(gcs.SCHEME).partition("/")
    self._bucket = cloud.Client().bucket(bucket)
    self._generation = 0

  def take(self, own, num_refreshed=0, over=None):
    """As `File.take`.

    Raises:
      google.api_core.exceptions.GoogleAPICallError: the bucket denies it.
    """
    self._generation = over.generation if over is not None else 0
    for _ in range(_ATTEMPTS):
      if self._write(own.record(num_refreshed)):
        return None
      blob, record = self._read()
      if blob is None:
        self._generation = 0
      elif _is_of(own, record):  # written, but the answer was lost
        self._generation = blob.generation
        return None
      else:
        age_s = (self._now() - blob.updated).total_seconds() if _is_far(record) else 0.0
        return Seen(record, age_s, generation=blob.generation)
    return Seen(b"", 0.0)

  def refresh(self, own, num_refreshed):
    """As `File.refresh`."""
    return self._write(own.record(num_refreshed)) or self.take(own, num_refreshed) is None

  def release(self, own):
    """As `File.release`."""
    blob, record = self._read()
    if blob is not None and _is_of(own, record):
      blob.delete(if_generation_match=blob.generation, **self._patience)

  def found(self):
    """As `File.found`."""
    return lock_holder.read(self._read()[1])

  def has_kernel_locks(self):
    """As `File.has_kernel_locks`: the bucket replaces them."""
    return True

  def _write(self, data):
    """Writes the object if its generation is the expected one; returns whether it was."""
    from google.api_core.exceptions import PreconditionFailed

    blob = self._bucket.blob(self._name)
    try:
      blob.upload_from_string(data, if_generation_match=self._generation, **self._patience)
    except PreconditionFailed:
      return False
    self._generation = blob.generation
    return True

  def _read(self):
    """Returns (blob, record); (None, b"") if there is none or it changes while it is read."""
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob = self._bucket.get_blob(self._name, **self._patience)
    if blob is None:
      return None, b""
    try:
      return blob, blob.download_as_bytes(if_generation_match=blob.generation, **self._patience)
    except (NotFound, PreconditionFailed):
      return None, b""

  def _now(self):
    """Returns the current time by the clock of the bucket."""
    probe = self._bucket.blob(f"{self._name}.now")
    probe.upload_from_string(b"", **self._patience)
    written = probe.updated
    with contextlib.suppress(Exception):  # another process removed it
      probe.delete(**self._patience)
    return written


def _is_of(own, record):
  found = lock_holder.read(record)
  return found is not None and found.token == own.token


def _is_far(record):
  """Returns whether a record is of another machine's process, so that only its age can show that it is stale."""
  found = lock_holder.read(record)
  return found is not None and not found.is_near()
