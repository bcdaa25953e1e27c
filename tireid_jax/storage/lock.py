"""A lock on a folder, on a disk or in a bucket, that one process holds at a time and that ends with the process.

The lock is a file `lock.json` with a record of its holder. A stale lock of a killed process is detected: on the same
host because the process no longer exists, on another because its record is no longer refreshed.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

from tireid_jax.errors import UserError
from tireid_jax.storage import locations, lock_file, lock_holder, lock_object
from tireid_jax.storage.locations import Path
from tireid_jax.terminal.progress import log_line

FILE = "lock.json"
# How often a holder refreshes its record, and the age at which another host treats it as stale and takes the lock over.
REFRESH_S = 20.0
STALE_S = 120.0
# How long a killed process may take to exit.
_DYING_S = 10.0
_POLL_S = 0.1
_POLL_FAR_S = 1.0
# Longest time that `acquire` blocks, since other processes of the run may wait for this one.
_ROUND_S = 10.0


class Lock:
  """A lock on a folder, which is created if it is missing."""

  def __init__(self, folder: Path, subject: str | Path, remedy: str):
    """Prepares the lock `folder/lock.json`.

    Args:
      folder: to lock.
      subject: what is locked, for messages.
      remedy: what else to do if another process holds it, for messages.
    """
    self._file = folder / FILE
    self._subject, self._remedy = subject, remedy
    self._own = lock_holder.this_process()
    self._storage: lock_file.File | lock_object.Object | None = None
    self._watched: tuple = (None, 0.0)  # a record, since when it has been the same
    self._thread: threading.Thread | None = None
    self._is_ending, self._refreshing = threading.Event(), threading.Lock()
    self._num_refreshed, self._tried_at, self._refreshed_at, self._is_lost = 0, 0.0, 0.0, False

  def acquire(self, seconds: float = _ROUND_S) -> bool:
    """Returns True once the lock is acquired, or False after `seconds` if it is still unknown whether its holder runs.

    Raises:
      ValueError: another process holds it.
    """
    deadline = time.monotonic() + seconds
    try:
      while True:
        seen = self._take()
        if seen is None:
          self._begin()
          return True
        if self._is_left_behind(seen):
          if self._take(over=seen) is None:
            self._begin()
            return True
          continue
        if time.monotonic() > deadline:
          return False
        other = lock_holder.read(seen.record)
        time.sleep(_POLL_S if other is None or other.is_near() else _POLL_FAR_S)
    except BaseException:
      self.release()
      raise

  def _take(self, over=None):
    """Returns None if the lock is acquired or cannot be created, otherwise the Seen lock of another process."""
    try:
      if self._storage is None:
        kind = lock_object.Object if locations.is_remote(self._file) else lock_file.File
        self._storage = kind(self._file)
      return self._storage.take(self._own, over=over)
    except Exception as error:
      reason = _denial(self._file, error)
      if not reason:
        raise
      kept, self._storage = self._storage, None
      other = kept.found() if kept is not None else None
      if other is not None and other.is_near() and not other.is_gone():
        raise self._refusal(other) from error
      if kept is not None:
        kept.release(self._own)
      log_line(f"{self._file} cannot be written ({reason}); another process that uses this folder will not be detected")
      return None

  def _is_left_behind(self, seen):
    """Returns True if the holder of a lock is gone, False while that is unknown; raises ValueError if it still runs."""
    other = lock_holder.read(seen.record)
    before, since = self._watched
    if seen.record != before:
      since = time.monotonic()
      self._watched = (seen.record, since)
    waited_s = time.monotonic() - since
    if other is not None and not other.is_near():
      previous = lock_holder.read(before) if before else None
      if previous is not None and seen.record != before:  # refreshed in the meantime
        raise self._refusal(other)
      if before is None and seen.age_s < STALE_S:
        log_line(f"{self._subject} was in use by {other}; waiting at most {STALE_S:.0f} s to see whether it still runs")
      return max(waited_s, seen.age_s) >= STALE_S
    if other is None:  # a damaged record, as a machine that lost its power leaves behind
      if seen.kernel is False and waited_s >= _DYING_S:
        raise self._refusal("another process")
      return seen.kernel or (seen.kernel is None and waited_s >= _DYING_S)  # or one that is being written
    if seen.kernel or (seen.kernel is None and other.is_gone()):
      return True
    if not other.is_gone() or waited_s >= _DYING_S:
      raise self._refusal(other)
    return False

  def _refusal(self, other):
    return UserError(f"{self._subject} is in use by {other}; wait for it to end, stop it, or {self._remedy}")

  def _begin(self):
    """Starts to refresh the lock."""
    if self._storage is None:
      return
    if not self._storage.has_kernel_locks():
      log_line(
        f"the file system of {self._file} has no locks; two processes that start at the same moment may not detect "
        f"each other"
      )
    self._refreshed_at = _clock()
    self._thread = threading.Thread(target=self._refresh_periodically, daemon=True)
    self._thread.start()

  def _refresh_periodically(self):
    while not self._is_ending.wait(REFRESH_S):
      self._refresh()

  def _refresh(self):
    with self._refreshing:
      if self._storage is None or self._is_ending.is_set():
        return
      self._tried_at = _clock()
      # If storage cannot be reached, nobody can write there either; the next attempt follows.
      with contextlib.suppress(Exception):
        self._num_refreshed += 1
        if not self._storage.refresh(self._own, self._num_refreshed):
          self._is_lost = True
        self._refreshed_at = _clock()

  def check(self) -> None:
    """Raises ValueError if another process has taken the lock over, e.g. after this one was suspended for minutes."""
    now = _clock()
    # While a bucket cannot be reached, not at each call: an attempt may take many seconds.
    if self._thread is not None and now - self._refreshed_at > STALE_S / 2 and now - self._tried_at > REFRESH_S:
      self._refresh()
    if self._is_lost:
      raise UserError(f"{self._subject}: another process has taken it over, while this one was suspended or cut off")

  def release(self) -> None:
    """Releases the lock."""
    self._is_ending.set()
    with self._refreshing:
      kept, self._storage = self._storage, None
    if self._thread is not None:
      self._thread.join()
    if kept is not None:
      with contextlib.suppress(Exception):  # a lock file that remains is detected as stale
        kept.release(self._own)


@contextlib.contextmanager
def holding(folder: Path, subject: str | Path, remedy: str) -> Iterator[Lock]:
  """Holds a Lock on a folder in a command of one process; arguments and errors as for `Lock`."""
  lock = Lock(folder, subject, remedy)
  try:
    while not lock.acquire():
      pass
    yield lock
  finally:
    lock.release()


def _clock():
  """Returns the time in seconds of a clock that keeps running while the machine is suspended."""
  return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _denial(file, error):
  """Returns why a lock file cannot be written; "" if the error is not a denial."""
  if not locations.is_remote(file):
    return (error.strerror or str(error)) if isinstance(error, OSError) else ""
  return "access is forbidden" if type(error).__name__ == "Forbidden" else ""
