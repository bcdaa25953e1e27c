"""The words nearest to prompt tokens, and how near they are by chance."""

import numpy as np
import pytest

from tireid_jax.evaluation.prompt_words import nearest_words

TABLE = np.array([[9.0, 0.0], [0.0, 0.1], [-1.0, 0.0], [3.0, 4.0]])


def test_words_are_in_the_order_of_their_cosine_similarity_whatever_their_norm():
  found = nearest_words(np.array([[2.0, 0.0], [0.0, -5.0]]), TABLE, np.array([0, 1, 3]), 2)
  assert found.ids.tolist() == [[0, 3], [0, 3]]
  np.testing.assert_allclose(found.similarities, [[1.0, 0.6], [0.0, -0.8]], atol=1e-6)


def test_more_words_than_there_are_gives_all():
  assert nearest_words(np.ones((1, 2)), TABLE, np.array([2, 1]), 9).ids.tolist() == [[1, 2]]


def test_chance_is_exceeded_by_the_nearest_word_of_one_random_vector_in_twenty():
  # Of all directions in the plane, a twentieth is within 9 degrees of a given one.
  assert nearest_words(np.ones((1, 2)), TABLE, np.array([0]), 1).chance == pytest.approx(np.cos(np.pi / 20), abs=0.02)
