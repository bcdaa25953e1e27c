"""Training batches of a pool: shuffled pictures, each with a caption that is new on every pass."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tireid_jax.data import tokenizer
from tireid_jax.data.loader import READ_AHEAD, Shard, StepBatches
from tireid_jax.data.permutation import permutation
from tireid_jax.data.toy.pool.splits import TrainSplit
from tireid_jax.errors import UserError


class PoolBatches(StepBatches):
  """Batches by step, as `loader.Batches`: a function of the seed and the step alone.

  Passes over the pictures follow each other without a gap; a batch may hold the end of one and the start of the next.
  An epoch is any number of pictures, so that a pool larger than the run needs no other schedule.

  Args:
    split: TrainSplit.
    batch_size: B, the global batch over all processes.
    seed: integer that determines the order.
    epoch_size: number of pictures in an epoch; an incomplete batch at its end is left out.
    num_epochs: number of epochs.
    caption_lengths: as of `loader.Batches`.
    shard: this process's examples of each global batch.
    read_ahead: number of batches to prefetch; 0 for none.

  Raises:
    UserError: the epoch or the pool has fewer pictures than a batch.
  """

  def __init__(
    self,
    split: TrainSplit,
    batch_size: int,
    *,
    seed: int,
    epoch_size: int,
    num_epochs: int,
    caption_lengths: Sequence[int],
    shard: Shard = slice(None),
    read_ahead: int = READ_AHEAD,
  ):
    self.steps_per_epoch = num_steps(epoch_size, batch_size)
    if len(split.captions) < batch_size:
      raise UserError(
        f"stage0.batch_size {batch_size} is more than the {len(split.captions)} training pictures of the pool; make it "
        f"less, or pool.num more"
      )
    self._split, self._batch_size, self._seed, self._shard = split, batch_size, seed, shard
    self._lengths = np.array(caption_lengths)
    self._pass, self._order = -1, np.arange(0)
    super().__init__(read_ahead, num_epochs * self.steps_per_epoch)

  def examples(self, step: int) -> list[dict[str, Any]]:
    """Returns [{"caption": pass of its caption, "image": index in the pool}] of the global batch of a step."""
    positions = self._positions(step)
    orders = {number: self._permutation(number) for number, _ in positions}
    return [
      {"caption": number, "image": str(self._split.first + orders[number][offset])} for number, offset in positions
    ]

  def _positions(self, step):
    """Returns [(pass, position in it)] of the examples of a step."""
    start = step * self._batch_size
    return [divmod(position, len(self._split.captions)) for position in range(start, start + self._batch_size)]

  def _permutation(self, number):
    return permutation(len(self._split.captions), self._seed, number)

  def _load(self, step):
    pool, first, indices, captions = self._split.pool, self._split.first, [], []
    for number, offset in self._positions(step):
      if number != self._pass:
        self._pass, self._order = number, self._permutation(number)
      indices.append(first + int(self._order[offset]))
      captions.append(pool.caption(indices[-1], number))
    tokens = tokenizer.tokenize(captions)
    # The length follows the whole batch, so that all processes agree on it.
    length = self._lengths[np.searchsorted(self._lengths, tokenizer.token_lengths(tokens).max())]
    images = np.array(indices)[self._shard]
    return {
      "images": np.stack([pool.image(int(index)) for index in images]),
      "tokens": tokens[self._shard, :length],
      "person_id": (images - first).astype(np.int32),
    }


def num_steps(epoch_size: int, batch_size: int) -> int:
  """Returns the steps of an epoch; raises UserError if it has none."""
  if epoch_size < batch_size:
    raise UserError(f"pool.epoch_size {epoch_size} is less than stage0.batch_size {batch_size}; make it more")
  return epoch_size // batch_size
