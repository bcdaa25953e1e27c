"""What the sections on confused identities and on similarities say, from counts that a reader can check."""

import dataclasses
import types

import numpy as np
import pytest

from tireid_jax.evaluation.confusions import Confusion
from tireid_jax.evaluation.similarities import NUM_BINS, Similarities
from tireid_jax.report import pairs

# Identities 7 and 9 with an image each, and their captions.
SPLIT = types.SimpleNamespace(
  captions=["red coat", "red hat", "blue coat"], caption_image=np.array([0, 0, 1]), person_id=np.array([7, 9]),
  images=np.zeros((2, 4, 2, 3), np.uint8),
)  # fmt: skip
CONFUSION = Confusion(person_ids=(7, 9), num_queries=(2, 1), num_confused=(2, 1), example=1, found=1)


def counts(similarities):
  """Returns how many similarities are in each bin of 0.01."""
  found = np.zeros(NUM_BINS, int)
  for value, count in similarities.items():
    found[round(100 * (value + 1))] = count
  return found


# The first caption has its person ahead, the second has another image as similar, and the third none of its person.
SIMILARITIES = Similarities(
  edges=np.linspace(-1, 1, NUM_BINS + 1),
  positive=counts({0.3: 50, 0.5: 50}),
  negative=counts({-0.2: 10, 0.1: 90}),
  best_positive=np.array([0.505, 0.305, -np.inf]),
  hardest_negative=np.array([0.405, 0.305, 0.105]),
  hardest_index=np.array([1, 1, 0]),
)


def test_a_pair_says_how_many_captions_of_each_identity_find_the_other():
  found = pairs.confused_section([CONFUSION], SPLIT, 3, persons={9: "0009_b"})
  assert found.hint.startswith("3 of 3 captions rank an image of another person first.")
  (pair,) = found.parts
  assert pair.lines == [
    "2 of 2 captions of identity 7 rank an image of identity 0009_b first.",
    "1 of 1 caption of identity 0009_b ranks an image of identity 7 first.",
    "For example: “red hat”",
  ]


def test_an_identity_that_never_finds_the_other_has_no_line():
  one_way = dataclasses.replace(CONFUSION, num_confused=(1, 0))
  (pair,) = pairs.confused_section([one_way], SPLIT, 1, persons={}).parts
  assert pair.lines == [
    "1 of 2 captions of identity 7 ranks an image of identity 9 first.", "For example: “red hat”",
  ]  # fmt: skip


@pytest.mark.parametrize(
  ("num_wrong", "sentence"),
  [
    (0, "Every caption ranks an image of its person first."),
    (2, "Every wrong first image is a distractor without an identity."),
  ],
)
def test_without_a_pair_a_line_says_why(num_wrong, sentence):
  found = pairs.confused_section([], SPLIT, num_wrong, persons={})
  assert (found.hint, list(found.parts)) == (sentence, [])


def test_the_fraction_of_captions_whose_person_is_ahead_leaves_out_those_without_an_image():
  hint = pairs.similarity_section(SIMILARITIES).hint
  assert "For 50.0% of captions, the most similar image of the person is ahead" in hint


def test_percentiles_are_the_upper_edges_of_the_bins_that_they_fall_into():
  *_, percentiles = pairs.similarity_section(SIMILARITIES).parts
  rows = {row[""].text: [cell.text for name, cell in row.items() if name] for row in percentiles.table}
  assert rows == {
    "same identity": ["100", "0.31", "0.31", "0.31", "0.51", "0.51"],
    "other identities": ["100", "-0.19", "0.11", "0.11", "0.11", "0.11"],
    "most similar image of another identity": ["3", "0.11", "0.11", "0.31", "0.41", "0.41"],
    "most similar image of the same identity": ["2", "0.31", "0.31", "0.31", "0.51", "0.51"],
  }
