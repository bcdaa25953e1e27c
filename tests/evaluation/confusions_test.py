"""Which pairs of identities are reported as confused, in which order, and with which images."""

import types

import numpy as np

from tests.ranked_results import scores
from tireid_jax.evaluation import confusions

# Images of identities 1, 2, 3, and of a distractor without one.
GALLERY = np.array([1, 1, 2, 2, 3, 3, -1])
# Captions of 1, 1, 1, 2, 2, 3, 3; the last is right, and the one before finds the distractor.
QUERY_IDS = np.array([1, 1, 1, 2, 2, 3, 3])
FIRST = np.array([4, 4, 2, 0, 1, 6, 5])
FOUND = scores(np.array([2, 3, 2, 5, 2, 2, 1]), QUERY_IDS)


def test_pairs_are_in_descending_order_of_confused_captions_in_either_direction():
  first, second = confusions.most_confused(FOUND, FIRST, GALLERY, 5)
  # Three captions: two of identity 2 find 1, and one of identity 1 finds 2.
  assert (first.person_ids, first.num_confused, first.num_queries) == ((2, 1), (2, 1), (2, 3))
  assert (first.example, first.found) == (3, 0)
  assert (second.person_ids, second.num_confused, second.num_queries) == ((1, 3), (2, 0), (3, 2))
  assert [c.person_ids for c in confusions.most_confused(FOUND, FIRST, GALLERY, 1)] == [(2, 1)]


def test_of_equally_many_captions_the_larger_fraction_is_first():
  ids = np.array([1, 1, 1, 2, 5, 6])
  found = scores(np.array([2, 1, 1, 1, 2, 1]), ids)
  pairs = confusions.most_confused(found, np.array([1, 1, 1, 0, 3, 3]), np.array([1, 2, 5, 6]), 5)
  assert [pair.person_ids for pair in pairs] == [(5, 6), (1, 2)]


def test_without_a_wrong_image_or_with_distractors_alone_there_is_no_pair():
  assert confusions.most_confused(scores(np.ones(7), QUERY_IDS), FIRST, GALLERY, 5) == []
  assert confusions.most_confused(FOUND, np.full(7, 6), GALLERY, 5) == []


def test_the_first_pictures_are_the_described_image_and_the_one_that_was_found():
  (first, *_) = confusions.most_confused(FOUND, np.array([4, 4, 2, 1, 1, 6, 5]), GALLERY, 5)
  images = np.arange(7, dtype=np.uint8)[:, None, None, None]
  split = types.SimpleNamespace(images=images, person_id=GALLERY, caption_image=np.array([0, 1, 1, 3, 2, 4, 5]))
  ours, theirs = confusions.pictures(first, split, 2)
  assert first.person_ids == (2, 1)
  assert ([int(i.item()) for i in ours], [int(i.item()) for i in theirs]) == ([3, 2], [1, 0])
  assert [len(group) for group in confusions.pictures(first, split, 9)] == [2, 2]
