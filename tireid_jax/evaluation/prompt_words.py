"""Words whose embeddings are nearest to prompt tokens of the text encoder."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# Random vectors whose nearest words give the level of chance, and the percentile of their similarities that it is.
_NUM_RANDOM = 400
_CHANCE_PERCENTILE = 95


class NearestWords(NamedTuple):
  """The words nearest to each prompt token.

  Attributes:
    ids: token ids, nearest first.
    similarities: cosine similarities of the prompt token and the embeddings of these ids.
    chance: similarity that the nearest word of a random vector exceeds in 5 of 100 cases.
  """

  ids: Int[np.ndarray, "tokens k"]
  similarities: Float[np.ndarray, "tokens k"]
  chance: float


def nearest_words(
  prompts: Float[np.ndarray, "tokens D"], table: Float[np.ndarray, "V D"], candidates: Int[np.ndarray, " n"], k: int
) -> NearestWords:
  """Returns the NearestWords among some ids of the vocabulary.

  Args:
    prompts: prompt tokens.
    table: embedding of each token id.
    candidates: ids to choose from, at least one.
    k: how many words for each prompt token.
  """
  words = _normalised(table[candidates])
  found = _normalised(prompts) @ words.T  # [tokens, n]
  order = np.argsort(-found, axis=1, kind="stable")[:, :k]
  random = _normalised(np.random.default_rng(0).standard_normal((_NUM_RANDOM, table.shape[1])).astype(np.float32))
  chance = float(np.percentile((random @ words.T).max(axis=1), _CHANCE_PERCENTILE))
  return NearestWords(candidates[order], np.take_along_axis(found, order, axis=1), chance)


def _normalised(rows):
  return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
