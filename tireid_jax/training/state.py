"""What a training step takes and returns."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
  """Everything that a step changes.

  Attributes:
    step: i32[], steps taken.
    variables: {"params": ..., "prompts": ...}, float32.
    optimizer: state of `optimizers.make_optimizer`; nothing for frozen leaves.
  """

  step: jax.Array
  variables: Any
  optimizer: Any
