"""Similarity of two representations of the same inputs: how far an encoder has drifted from another."""

import numpy as np


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the linear centred kernel alignment, from 0 (unrelated) to 1 (equal up to rotation, scale and shift).

  Args:
    first: f32[N, D] representations.
    second: f32[N, E] representations of the same inputs.

  Raises:
    ValueError: they are not of the same inputs, or one of them is constant.

  Source: Kornblith et al., ICML 2019, arXiv 1905.00414, equation 7 with a linear kernel.
  """
  if len(first) != len(second):
    raise ValueError(f"there are {len(first)} and {len(second)} representations; give two of each input")
  first, second = (x.astype(np.float64) - x.mean(axis=0, dtype=np.float64) for x in (first, second))
  norms = [np.linalg.norm(x.T @ x) for x in (first, second)]
  if not all(norms):
    raise ValueError("a representation is the same for all inputs; its similarity is undefined")
  return float(np.linalg.norm(first.T @ second) ** 2 / (norms[0] * norms[1]))
