"""One process at a time: a lock on a folder, on a disk or in a bucket, that does not outlive its process.

The lock is a file `lock.json` that says who holds it. What a killed process leaves behind is recognised: on the same
host by the process being gone, on another by a record that its holder no longer refreshes.
"""

import contextlib
import threading
import time

from tireid_jax.errors import UserError
from tireid_jax.storage import locations, lock_backend, lock_holder
from tireid_jax.terminal.progress import say

FILE = "lock.json"
# How often a holder refreshes its record, and after how long without that another host takes the lock over.
REFRESH_S = 20.0
STALE_S = 120.0
# What a process that was killed may take to be gone.
_DYING_S = 10.0
_POLL_S = 0.1
_POLL_FAR_S = 1.0
# Seconds of `acquire` without a return, since other processes may wait for this one.
_ROUND_S = 10.0


class Lock:
  """A lock on a folder, which is made if need be."""

  def __init__(self, folder, subject, remedy):
    """Prepares the lock `folder/lock.json`.

    Args:
      folder: path.
      subject, remedy: what is locked, and what else to do where another process holds it, for messages.
    """
    self._file = folder / FILE
    self._subject, self._remedy = subject, remedy
    self._own = lock_holder.this_process()
    self._storage: lock_backend.File | lock_backend.Object | None = None
    self._watched: tuple = (None, 0.0)  # a record, since when it has been the same
    self._thread: threading.Thread | None = None
    self._is_ending, self._refreshing = threading.Event(), threading.Lock()
    self._num_refreshed, self._tried_at, self._refreshed_at, self._is_lost = 0, 0.0, 0.0, False

  def acquire(self, seconds=_ROUND_S):
    """Returns whether the lock is taken; if not within `seconds`, it is not known yet whether its holder still runs.

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
    """Returns None if the lock is taken, or there can be none; else Seen."""
    try:
      if self._storage is None:
        kind = lock_backend.Object if locations.is_remote(self._file) else lock_backend.File
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
      say(f"{self._file} cannot be written ({reason}); another process at work in that folder is not noticed")
      return None

  def _is_left_behind(self, seen):
    """Whether the holder of a lock is gone; raises ValueError if it is not, and returns False while that is unknown."""
    other = lock_holder.read(seen.record)
    before, since = self._watched
    if seen.record != before:
      since = time.monotonic()
      self._watched = (seen.record, since)
    waited_s = time.monotonic() - since
    if other is not None and not other.is_near():
      previous = lock_holder.read(before) if before else None
      if previous is not None and seen.record != before:  # refreshed while we looked
        raise self._refusal(other)
      if before is None and seen.age_s < STALE_S:
        say(f"{self._subject} was in use by {other}; waiting at most {STALE_S:.0f} s to see whether it still runs")
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
    """Keeps the lock from now on."""
    if self._storage is None:
      return
    if not self._storage.has_kernel_locks():
      say(f"the file system of {self._file} has no locks; two that start at the same moment may not notice each other")
    self._refreshed_at = _clock()
    self._thread = threading.Thread(target=self._keep, daemon=True)
    self._thread.start()

  def _keep(self):
    while not self._is_ending.wait(REFRESH_S):
      self._refresh()

  def _refresh(self):
    with self._refreshing:
      if self._storage is None or self._is_ending.is_set():
        return
      self._tried_at = _clock()
      # What cannot be reached cannot be written to either; another attempt follows.
      with contextlib.suppress(Exception):
        self._num_refreshed += 1
        if not self._storage.refresh(self._own, self._num_refreshed):
          self._is_lost = True
        self._refreshed_at = _clock()

  def check(self):
    """Raises ValueError if another process has taken the lock over, as after this one was suspended for minutes."""
    now = _clock()
    # Not at each call while a bucket cannot be reached: an attempt may take many seconds.
    if self._thread is not None and now - self._refreshed_at > STALE_S / 2 and now - self._tried_at > REFRESH_S:
      self._refresh()
    if self._is_lost:
      raise UserError(f"{self._subject}: another process has taken it over, while this one was suspended or cut off")

  def release(self):
    """Lets another process have the lock."""
    self._is_ending.set()
    with self._refreshing:
      kept, self._storage = self._storage, None
    if self._thread is not None:
      self._thread.join()
    if kept is not None:
      with contextlib.suppress(Exception):  # what stays there is recognised as left behind
        kept.release(self._own)


@contextlib.contextmanager
def holding(folder, subject, remedy):
  """Yields the Lock on a folder, in a command of one process; arguments and errors as `Lock`."""
  lock = Lock(folder, subject, remedy)
  try:
    while not lock.acquire():
      pass
    yield lock
  finally:
    lock.release()


def _clock():
  """Returns seconds that also pass while the machine is suspended."""
  return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _denial(file, error):
  """Returns why a lock cannot be written, "" for an error that is no denial."""
  if not locations.is_remote(file):
    return (error.strerror or str(error)) if isinstance(error, OSError) else ""
  return "access is forbidden" if type(error).__name__ == "Forbidden" else ""
