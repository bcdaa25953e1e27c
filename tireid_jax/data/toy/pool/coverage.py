"""Which words of other captions the pool's captions lack."""

from collections.abc import Iterable

import numpy as np

from tireid_jax.data.toy.captions import tokens
from tireid_jax.data.toy.pool.captions import caption
from tireid_jax.data.toy.pool.entry import sample_entry


def words_never_used(captions: Iterable[str], *, num: int = 20_000, seed: int = 0) -> list[str]:
  """Returns the words of `captions` that none of `num` sampled captions of the pool has, sorted.

  Args:
    captions: such as those of ToyPEDES.
    num: number of the pool's captions to sample.
    seed: of these samples.
  """
  known: set[str] = set()
  for index in range(num):
    rng = np.random.default_rng([seed, index])
    known.update(tokens(caption(sample_entry(rng), rng)))
  return sorted({word for text in captions for word in tokens(text)} - known)
