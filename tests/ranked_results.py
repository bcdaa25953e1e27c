"""Results with given ranks, for tests that compare them."""

import numpy as np

from tireid_jax import metrics
from tireid_jax.evaluation import score_file

NUM_QUERIES = 200


def scores(first_rank, query_ids=None):
  """Returns QueryScores with one positive per query, at the given ranks."""
  first_rank = np.asarray(first_rank)
  ids = np.arange(len(first_rank)) // 4 if query_ids is None else query_ids
  return metrics.QueryScores(ids, first_rank, 1 / first_rank, 1 / first_rank)


def both_directions(*arguments):
  return {direction: scores(*arguments) for direction in metrics.DIRECTIONS}


def result(first_rank, **changes):
  known = {"path": "ranks.npz", "dataset": "toy_pedes", "split": "test", "fingerprint": "f00"}
  return score_file.ScoreFile(**{**known, "scores": both_directions(first_rank), **changes})


def write_result(path, result):
  path.parent.mkdir(parents=True, exist_ok=True)
  arrays = {name: np.asarray(getattr(result, name)) for name in ("fingerprint", "dataset", "split")}
  for direction in metrics.DIRECTIONS:
    arrays.update(result.scores[direction].to_arrays(direction))
  np.savez(path, **arrays)
  return path


def ranks(fraction_correct, seed):
  return np.where(np.random.default_rng(seed).random(NUM_QUERIES) < fraction_correct, 1, 20)
