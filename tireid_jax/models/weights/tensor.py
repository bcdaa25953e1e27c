"""A stored tensor, read on demand so that a file of several gigabytes is never in memory as a whole."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor in a file, of known shape, whose values are read on demand.

  Attributes:
    shape: of the array that `read` returns.
    read: reads the values, in the stored dtype.
  """

  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]

  def map(self, shape: Iterable[int], change: Callable[[np.ndarray], np.ndarray]) -> "Tensor":
    """Returns a Tensor of the given shape that reads this one and applies `change` to its values."""
    return Tensor(tuple(shape), lambda: change(self.read()))
