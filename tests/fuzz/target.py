"""What a target of fuzzing is."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Target:
  """A kind of input.

  Attributes:
    make: (empty folder) -> (run, seeds): `run(data)` reads bytes as the commands do, and raises UserError or nothing;
      `seeds` are inputs, sound and known to be bad, the first of them sound.
    tokens: bytes that mean something in the format.
  """

  make: Callable
  tokens: tuple[bytes, ...] = ()
