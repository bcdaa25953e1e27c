"""The splits of a pool: its first pictures are held out for validation and test, the others are for training."""

import dataclasses

import numpy as np

from tireid_jax.data import tokenizer
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy.pool.store import DrawnPool, Pool
from tireid_jax.errors import UserError

NAME = "toy_pool"
# Of each held-out picture; they are the same in every evaluation.
CAPTIONS_PER_IMAGE = 2


@dataclasses.dataclass(frozen=True, eq=False)
class TrainSplit:
  """The training pictures of a pool; their captions are sampled afresh on every pass.

  Attributes:
    pool: Pool.
    first: index in the pool of the first training picture.
    name, fingerprint: of the pool.
    num_identities: number of pictures, each an identity of its own.
  """

  pool: Pool
  first: int
  name: str
  num_identities: int
  fingerprint: str

  @property
  def captions(self) -> range:
    """Numbers of the captions of one pass."""
    return range(self.num_identities)


def check_size(num: int, num_held_out: int) -> None:
  """Raises UserError unless `num` pictures leave some for training, with `num_held_out` in each of val and test."""
  if num_held_out < 1 or num <= 2 * num_held_out:
    raise UserError(
      f"pool.num_held_out is {num_held_out} of pool.num={num} pictures; val and test have that many each, at least 1, "
      f"and there must be others for training"
    )


def train_split(pool: Pool, num_held_out: int) -> TrainSplit:
  """Returns the training split of a pool with `num_held_out` pictures in each of the other two."""
  first = 2 * num_held_out
  return TrainSplit(pool, first, NAME, len(pool) - first, pool.fingerprint)


def open_held_out(pool: Pool | DrawnPool, split: str, num_held_out: int) -> Split:
  """Returns the "val" or "test" split of a pool, in memory: each picture an identity, with two captions.

  Args:
    pool: Pool, or DrawnPool to draw these pictures alone.
    split: "val" or "test".
    num_held_out: number of pictures in each of them.
  """
  start = {"val": 0, "test": num_held_out}[split]
  indices = np.arange(start, start + num_held_out)
  captions = [pool.caption(int(index), number) for index in indices for number in range(CAPTIONS_PER_IMAGE)]
  person_id = indices.astype(np.int32)
  return Split(
    name=NAME, split=split, images=np.stack([pool.image(int(index)) for index in indices]), person_id=person_id,
    labels=person_id, num_identities=num_held_out, tokens=tokenizer.tokenize(captions),
    caption_image=np.repeat(np.arange(num_held_out), CAPTIONS_PER_IMAGE), captions=captions,
    file_paths=[str(index) for index in indices], fingerprint=pool.fingerprint, cameras=[""] * num_held_out,
    times=[""] * num_held_out,
  )  # fmt: skip
