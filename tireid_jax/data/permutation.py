"""Permutations that stay the same from one version of numpy to the next."""

import numpy as np


def permutation(num, *key):
  """Returns i64[num], a permutation of 0..num-1 that depends on `num` and up to two whole numbers alone.

  It sorts the raw output of a counter-based generator, which numpy keeps from version to version, unlike
  `Generator.permutation`.
  """
  words = [number % 2**64 for number in key] + [0] * (2 - len(key))
  return np.argsort(np.random.Philox(key=np.array(words, np.uint64)).random_raw(num), kind="stable")
