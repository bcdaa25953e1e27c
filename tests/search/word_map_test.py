"""The map of a word: highest where the picture shows what the word stands for, for an encoder that is known."""

import numpy as np
import pytest

from tireid_jax.errors import UserError
from tireid_jax.search import word_map

SIZE = (48, 36)


class Colours:
  """Embeds a picture as its mean colour, and a sentence as the colours it names, of any length."""

  def encode_images(self, pixels):
    return pixels.astype(np.float32).mean((1, 2))

  def encode_sentences(self, sentences):
    return np.array([["red" in each, "green" in each, "blue" in each] for each in sentences], np.float32)


def picture():
  """Returns a black picture with a red and a blue cell."""
  pixels = np.zeros((*SIZE, 3), np.uint8)
  pixels[8:12, 12:18, 0] = 255  # row 2, column 2
  pixels[32:36, 18:24, 2] = 255  # row 8, column 3
  return pixels


@pytest.mark.parametrize(("number", "word", "cell"), [(1, "red", (2, 2)), (3, "blue", (8, 3))])
def test_the_most_relevant_cell_is_the_one_that_shows_the_word(number, word, cell):
  regions = word_map.embed_regions(Colours(), picture())
  assert regions.shape == (56, 3)
  found = word_map.word_map(Colours(), regions, "a red and blue", number)
  assert found.word == word
  assert found.drop == pytest.approx(255 / 72)  # one of 72 cells
  assert found.relevance.shape == (12, 6)
  assert np.unravel_index(found.relevance.argmax(), found.relevance.shape) == cell


def test_a_word_without_meaning_has_an_empty_map():
  found = word_map.word_map(Colours(), word_map.embed_regions(Colours(), picture()), "a red and blue", 2)
  assert found.drop == 0
  assert not found.relevance.any()


def test_the_relevance_of_a_cell_is_the_mean_over_the_regions_that_cover_it():
  regions = np.zeros((56, 3), np.float32)
  regions[1] = (-4, 0, 0)  # the region of rows 0 and 1, columns 0 and 1
  relevance = word_map.word_map(Colours(), regions, "a red", 1).relevance
  np.testing.assert_array_equal(relevance[:3, :3], [[4, 2, 0], [2, 1, 0], [0, 0, 0]])


def test_sizes_that_are_no_multiple_of_the_cells_are_covered_whole():
  pixels = np.full((50, 31, 3), 7, np.uint8)
  pixels[-1, -1] = 255
  assert (word_map.embed_regions(Colours(), pixels)[-1] < word_map.embed_regions(Colours(), pixels)[0]).all()


@pytest.mark.parametrize(("sentence", "number"), [("red", 0), ("a red", 2), ("a red", -1)])
def test_a_word_that_is_not_there_or_alone_is_an_error(sentence, number):
  message = "needs two words and not 1" if sentence == "red" else f"there is no word {number} in the sentence"
  with pytest.raises(UserError, match=message):
    word_map.word_map(Colours(), np.zeros((56, 3), np.float32), sentence, number)
