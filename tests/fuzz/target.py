"""The definition of a fuzz target."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Target:
  """A kind of input and how it is read.

  Attributes:
    make: (empty folder) -> (run, seeds): `run(data)` reads bytes as the commands do, and raises UserError or nothing;
      `seeds` are initial inputs, valid or invalid; the first is valid.
    tokens: bytes with a meaning in the format.
  """

  make: Callable
  tokens: tuple[bytes, ...] = ()
