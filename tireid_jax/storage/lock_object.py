"""A lock in an object of a bucket; it has the methods of `lock_file.File`."""

import contextlib
import os

from tireid_jax.storage import gcs, lock_holder
from tireid_jax.storage.lock_file import ATTEMPTS, Seen, is_far

# Timeout of a request to the bucket.
_TIMEOUT_S = 10


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
    for _ in range(ATTEMPTS):
      if self._write(own.record(num_refreshed)):
        return None
      blob, record = self._read()
      if blob is None:
        self._generation = 0
      elif _is_of(own, record):  # written, but the answer was lost
        self._generation = blob.generation
        return None
      else:
        age_s = (self._now() - blob.updated).total_seconds() if is_far(record) else 0.0
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
