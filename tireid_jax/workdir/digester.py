"""Writes the digests of checkpoints in the background, while Orbax commits them."""

import concurrent.futures
import threading
from typing import Any

from tireid_jax.parallel import distributed
from tireid_jax.workdir import digests
from tireid_jax.workdir.checkpoint_scores import folder_of

# The file that Orbax writes into a checkpoint last, and how often to check for it.
_COMMITTED = "commit_success.txt"
_POLL_S = 0.1


class Digester:
  """Writes the digests of a checkpoint in a background thread, once it is committed."""

  def __init__(self, stage_folder):
    self._stage_folder = stage_folder
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._is_committed, self._is_closed = threading.Event(), False
    self._pending: Any = None

  def start(self, step, score, kept):
    """Starts on a step with its score; deletes the digests of steps that are not in `kept`."""
    if distributed.is_first():
      digests.forget(self._stage_folder, [step, *(set(digests.known_steps(self._stage_folder)) - set(kept))])
      self._is_committed.clear()
      self._pending = self._thread.submit(self._write, step, score)

  def _write(self, step, score):
    folder = folder_of(self._stage_folder) / str(step)
    while not (folder / _COMMITTED).is_file() and not self._is_committed.wait(_POLL_S):
      pass
    if not self._is_closed:
      digests.write(self._stage_folder, step, folder, score)

  def wait(self):
    """Waits until the digests are written; call it once the checkpoint is committed."""
    self._is_committed.set()
    pending, self._pending = self._pending, None
    if pending:
      pending.result()

  def close(self):
    """Stops the thread; a checkpoint that is not committed by now gets no digests."""
    self._is_closed = True
    self._is_committed.set()
    self._thread.shutdown()
