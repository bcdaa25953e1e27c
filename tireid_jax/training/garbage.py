"""Training-loop hook that keeps Python's garbage collector from pausing training."""

import gc
from collections.abc import Mapping

import jax

from tireid_jax.training.state import TrainState


class FreezeGarbage:
  """Keeps Python's garbage collector from pausing training. A context manager: leaving it undoes that.

  A full collection visits every object of JAX and the traced programs. It recurs and takes 0.1 to 0.3 s in which no
  step is dispatched, and all processes wait for the one that collects. So all objects that exist after the first step
  are exempted from collection.
  """

  def __init__(self) -> None:
    self._is_done = False

  def __enter__(self) -> "FreezeGarbage":
    return self

  def __exit__(self, *_) -> None:
    gc.unfreeze()

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    if not self._is_done:
      gc.collect()  # while the device computes the first step; frozen garbage would stay until the end
      gc.freeze()
      self._is_done = True
