"""A lock in a file on a disk, which the kernel can lock as well; `lock_object` is the one in a bucket."""

import contextlib
import dataclasses
import fcntl
import os
import tempfile

from tireid_jax.storage import lock_holder

# Attempts to open a file or object that other processes create and delete concurrently.
ATTEMPTS = 10


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
      return Seen(record, self._now() - written if is_far(record) else 0.0, self._kernel)
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
    for attempt in range(ATTEMPTS):
      try:
        if self._descriptor is None:
          self._make_folder()
          self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        if not self._kernel:
          self._kernel = _flock(self._descriptor)
        if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
          return
      except FileNotFoundError:  # removed by whoever held the lock
        if attempt == ATTEMPTS - 1:
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


def is_far(record):
  """Returns whether a record is of another machine's process, so that only its age can show that it is stale."""
  found = lock_holder.read(record)
  return found is not None and not found.is_near()
