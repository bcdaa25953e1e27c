"""The drop in similarity when a word is left out, computed by hand."""

import numpy as np
import pytest

from tireid_jax.evaluation.word_relevance import word_relevance

# A caption's embedding is the sum of those of its words.
VECTORS = {"red": (3.0, 0.0), "coat,": (0.0, 4.0), "a": (0.0, 0.0)}


def encode(captions):
  return np.array([np.sum([VECTORS[word] for word in caption.split()] or [(0, 0)], axis=0) for caption in captions])


def test_a_drop_is_the_similarity_with_the_word_less_that_without_it():
  captions = ["a red  coat,", "red"]
  images = np.array([[[2.0, 0.0], [0.0, 1.0]], [[5.0, 0.0], [0.0, 1.0]]])
  first, second = word_relevance(captions, encode(captions), images, encode)
  assert [word.text for word in first] == ["a", "red", "coat,"]
  # The caption is at (0.6, 0.8), without "red" at (0, 1), without "coat," at (1, 0).
  assert np.array([word.drops for word in first]) == pytest.approx(np.array([[0, 0], [0.6, -0.2], [-0.4, 0.8]]))
  # Without its only word, a caption has the embedding of the empty one, here zero.
  assert second == [("red", (1.0, 0.0))]


def test_captions_without_words_are_not_encoded():
  (words,) = word_relevance([" "], np.ones((1, 2)), np.ones((1, 1, 2)), lambda captions: pytest.fail(str(captions)))
  assert words == []
