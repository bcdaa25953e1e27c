"""Similarities of positives and negatives, counted in blocks, against the whole matrix."""

import numpy as np
import pytest

from tireid_jax import metrics, ranking
from tireid_jax.evaluation.similarities import NUM_BINS, similarities


def make_embeddings(num, num_ids, seed):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((num, 4)).astype(np.float32), rng.integers(0, num_ids, num)


@pytest.mark.parametrize("block_queries", [1024, 70])
def test_counts_and_extremes_are_those_of_the_whole_matrix(block_queries, monkeypatch):
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", block_queries)  # 70: blocks of a whole and a partial chunk
  text, text_ids = make_embeddings(150, 5, seed=0)
  image, image_ids = make_embeddings(40, 5, seed=1)
  image_ids[:3] = -1  # distractors without an identity are negatives of all captions
  found = similarities(text, image, text_ids, image_ids)
  unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (text, image)]
  whole = unit[0] @ unit[1].T
  is_positive = text_ids[:, None] == image_ids
  for counts, values in ((found.positive, whole[is_positive]), (found.negative, whole[~is_positive])):
    expected, _ = np.histogram(values, found.edges)
    assert counts.sum() == expected.sum()
    assert np.abs(counts - expected).sum() <= 4  # rounding may move a value at an edge to the next bin
  np.testing.assert_allclose(found.best_positive, np.where(is_positive, whole, -1).max(axis=1), atol=1e-6)
  np.testing.assert_array_equal(found.hardest_index, np.where(is_positive, -1, whole).argmax(axis=1))
  np.testing.assert_allclose(found.hardest_negative, np.where(is_positive, -1, whole).max(axis=1), atol=1e-6)
  assert found.histogram(found.hardest_negative).sum() == len(text)


def test_the_first_image_of_a_wrong_ranking_is_the_hardest_negative():
  text, text_ids = make_embeddings(60, 6, seed=2)
  image, image_ids = make_embeddings(30, 6, seed=3)
  image[20] = image[4]  # a tie, which the lower index wins
  scores = metrics.query_scores(text, image, text_ids, image_ids)
  found = similarities(text, image, text_ids, image_ids)
  first, _ = metrics.top_gallery(text, image, 1)
  wrong = scores.first_rank > 1
  assert 10 < wrong.sum() < 60
  np.testing.assert_array_equal(found.hardest_index[wrong], first[wrong, 0])


def test_equal_and_opposite_embeddings_are_in_the_outer_bins():
  text, image = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [-1.0, 0.0]])
  found = similarities(text, image, np.array([7]), np.array([7, 7]))
  assert (found.positive[0], found.positive[NUM_BINS - 1], found.positive.sum()) == (1, 1, 2)
  assert found.negative.sum() == 0
  assert found.hardest_negative.tolist() == [-np.inf]
  assert found.histogram(found.hardest_negative).sum() == 0
