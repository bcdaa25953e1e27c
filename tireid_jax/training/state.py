"""The state that a training step takes and returns."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
  """All that a step updates.

  Attributes:
    step: i32[], number of steps taken.
    variables: {"params": ..., "prompts": ...}, float32.
    optimizer: state of `optimizers.make_optimizer`; without frozen leaves.
  """

  step: jax.Array
  variables: Any
  optimizer: Any
