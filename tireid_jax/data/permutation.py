"""Permutations that are the same in every version of NumPy."""

import numpy as np
from jaxtyping import Int


def permutation(num: int, *key: int) -> Int[np.ndarray, " num"]:
  """Returns i64[num], a permutation of 0..num-1 that depends only on `num` and a key of up to two integers.

  It sorts the raw output of a counter-based generator, which NumPy guarantees to be stable across versions, unlike
  `Generator.permutation`.
  """
  words = [number % 2**64 for number in key] + [0] * (2 - len(key))
  return np.argsort(np.random.Philox(key=np.array(words, np.uint64)).random_raw(num), kind="stable")
