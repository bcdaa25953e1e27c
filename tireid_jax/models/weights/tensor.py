"""A stored tensor that is read when it is asked for, so that a file of gigabytes is never in memory whole."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor of a file: its shape is known, its values are read by `read()`.

  Attributes:
    shape: of what `read` returns.
    read: returns the values, np.ndarray of the stored type.
  """

  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]

  def map(self, shape, change):
    """Returns the Tensor of `change(values)`, which has that shape."""
    return Tensor(tuple(shape), lambda: change(self.read()))
