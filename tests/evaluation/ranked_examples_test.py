"""Which queries are selected as examples, with which images, and the image strip of a query."""

import types

import numpy as np
import pytest

from tireid_jax import metrics
from tireid_jax.evaluation import ranked_examples


def make_scores(first_rank, precision, query_ids):
  return metrics.QueryScores(
    np.asarray(query_ids), np.asarray(first_rank), np.asarray(precision, float), np.zeros(len(first_rank))
  )


def random_scores(num=60, num_ids=20):
  rng = np.random.default_rng(0)
  rank = rng.integers(1, 50, num)
  return make_scores(rank, 1 / rank, rng.integers(0, num_ids, num))


def queries_of(chosen, kind):
  return [query for k, query in chosen if k == kind]


def test_a_third_of_the_examples_are_the_best_a_third_the_worst_without_duplicates():
  scores = make_scores(np.arange(1, 31), 1 / np.arange(1, 31), np.arange(30))
  chosen = ranked_examples.choose_queries(scores, 12)
  assert queries_of(chosen, "best") == [0, 1, 2, 3]
  assert queries_of(chosen, "worst") == [29, 28, 27, 26]
  assert len(queries_of(chosen, "random")) == 4
  assert len({query for _, query in chosen}) == 12


@pytest.mark.parametrize(("num", "counts"), [(1, [0, 0, 1]), (3, [1, 1, 1]), (10, [3, 3, 4]), (11, [3, 3, 5])])
def test_the_remainder_of_a_division_by_three_is_random(num, counts):
  chosen = ranked_examples.choose_queries(random_scores(), num)
  assert [len(queries_of(chosen, kind)) for kind in ranked_examples.KINDS] == counts


def test_each_example_shows_another_person_while_there_are_enough():
  # The six best queries are all of person 7.
  query_ids = [7] * 6 + list(range(100, 114))
  scores = make_scores(np.arange(1, 21), 1 / np.arange(1, 21), query_ids)
  chosen = ranked_examples.choose_queries(scores, 12)
  assert queries_of(chosen, "best") == [0, 6, 7, 8]
  assert len({query_ids[query] for _, query in chosen}) == 12


def test_a_single_person_still_gives_the_requested_number_of_examples():
  scores = make_scores(np.arange(1, 21), 1 / np.arange(1, 21), np.zeros(20, int))
  assert len({query for _, query in ranked_examples.choose_queries(scores, 12)}) == 12


def test_fewer_queries_than_requested_are_all_shown_once():
  scores = make_scores([1, 2, 3], [1, 0.5, 0.3], [1, 2, 3])
  assert sorted(query for _, query in ranked_examples.choose_queries(scores, 12)) == [0, 1, 2]


def test_ties_and_random_examples_are_determined_by_the_seed():
  scores = make_scores(np.ones(50, int), np.ones(50), np.arange(50))
  chosen = ranked_examples.choose_queries(scores, 12, seed=3)
  assert chosen == ranked_examples.choose_queries(scores, 12, seed=3)
  assert chosen != ranked_examples.choose_queries(scores, 12, seed=4)


def make_split():
  """Returns two images each of three persons, with one caption per image, and embeddings; image i is filled with i."""
  person_id = np.array([5, 5, 8, 8, 9, 9])
  split = types.SimpleNamespace(
    images=np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 4, 3), np.uint8),
    person_id=person_id,
    caption_image=np.arange(6),
    captions=[f"caption {i}" for i in range(6)],
  )
  image = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [0, 1]], np.float32)
  return split, image


def test_a_query_has_its_best_images_in_order():
  split, image = make_split()
  text = image[[0, 1, 2, 3, 4, 0]]  # the last caption is mistaken for the first person's
  scores = metrics.query_scores(text, image, split.person_id, split.person_id)
  right, wrong = ranked_examples.rank_queries([("best", 0), ("worst", 5)], scores, image, text, split, top=3)
  assert (right.kind, right.caption, right.person_id, right.first_rank) == ("best", "caption 0", 5, 1)
  assert right.is_correct == [True, True, False]
  assert [image.max() for image in right.images] == [0, 1, 2]
  assert right.hits[0].score == pytest.approx(1)
  assert (wrong.caption, wrong.person_id) == ("caption 5", 9)
  assert [hit.person_id for hit in wrong.hits] == [5, 5, 8]
  assert not any(wrong.is_correct)
  assert (wrong.first_rank, wrong.described.max()) == (5, 5)
  assert wrong.average_precision == pytest.approx((1 / 5 + 2 / 6) / 2)


def test_correct_images_are_framed_in_green_and_wrong_ones_in_red():
  grey = np.full((40, 20, 3), 128, np.uint8)
  strip = np.asarray(ranked_examples.ranked_strip("a man", [grey, grey, grey], [True, False, True], height=80)).astype(
    int
  )
  green, red = (
    np.all(strip == [int(colour[i : i + 2], 16) for i in (1, 3, 5)], axis=-1)
    for colour in (ranked_examples.RIGHT, ranked_examples.WRONG)
  )
  top = int(np.argmax(red.any(axis=1)))  # the upper edge of the frames
  edges = ["g" if g else "r" if r else " " for g, r in zip(green[top], red[top], strict=True)]
  assert "".join(edges).split() == ["g" * 44, "r" * 44, "g" * 44]


def test_the_strip_grows_in_height_for_a_long_caption():
  grey = np.full((40, 20, 3), 128, np.uint8)
  short, long = (ranked_examples.ranked_strip("word " * num, [grey] * 3, [True] * 3, height=80) for num in (1, 60))
  assert long.width == short.width
  assert long.height > short.height + 5 * 11
