"""Which queries are shown, with which images, and the picture of one."""

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


def rows_of(chosen, kind):
  return [row for k, row in chosen if k == kind]


def test_a_third_are_the_best_a_third_the_worst_and_none_comes_twice():
  scores = make_scores(np.arange(1, 31), 1 / np.arange(1, 31), np.arange(30))
  chosen = ranked_examples.choose_queries(scores, 12)
  assert rows_of(chosen, "best") == [0, 1, 2, 3]
  assert rows_of(chosen, "worst") == [29, 28, 27, 26]
  assert len(rows_of(chosen, "random")) == 4
  assert len({row for _, row in chosen}) == 12


@pytest.mark.parametrize(("num", "shares"), [(1, [0, 0, 1]), (3, [1, 1, 1]), (10, [3, 3, 4]), (11, [3, 3, 5])])
def test_what_does_not_divide_by_three_is_random(num, shares):
  chosen = ranked_examples.choose_queries(random_scores(), num)
  assert [len(rows_of(chosen, kind)) for kind in ranked_examples.KINDS] == shares


def test_a_person_is_shown_once_while_there_are_others():
  # The six best queries are all of person 7.
  query_ids = [7] * 6 + list(range(100, 114))
  scores = make_scores(np.arange(1, 21), 1 / np.arange(1, 21), query_ids)
  chosen = ranked_examples.choose_queries(scores, 12)
  assert rows_of(chosen, "best") == [0, 6, 7, 8]
  assert len({query_ids[row] for _, row in chosen}) == 12


def test_with_one_person_alone_there_are_still_as_many():
  scores = make_scores(np.arange(1, 21), 1 / np.arange(1, 21), np.zeros(20, int))
  assert len({row for _, row in ranked_examples.choose_queries(scores, 12)}) == 12


def test_fewer_queries_than_requested_are_all_shown_once():
  scores = make_scores([1, 2, 3], [1, 0.5, 0.3], [1, 2, 3])
  assert sorted(row for _, row in ranked_examples.choose_queries(scores, 12)) == [0, 1, 2]


def test_equals_and_random_ones_follow_from_the_seed():
  scores = make_scores(np.ones(50, int), np.ones(50), np.arange(50))
  chosen = ranked_examples.choose_queries(scores, 12, seed=3)
  assert chosen == ranked_examples.choose_queries(scores, 12, seed=3)
  assert chosen != ranked_examples.choose_queries(scores, 12, seed=4)


def make_split():
  """Three persons of two images each, at right angles, and a caption of each image; image i is filled with i."""
  person_id = np.array([5, 5, 8, 8, 9, 9])
  split = types.SimpleNamespace(
    images=np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 4, 3), np.uint8),
    person_id=person_id,
    caption_image=np.arange(6),
    captions=[f"caption {i}" for i in range(6)],
  )
  image = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [0, 1]], np.float32)
  return split, image


def test_a_query_comes_with_its_best_images_in_order():
  split, image = make_split()
  text = image[[0, 1, 2, 3, 4, 0]]  # the last caption is taken for the first person's
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


def test_the_picture_frames_right_ones_green_and_wrong_ones_red():
  grey = np.full((40, 20, 3), 128, np.uint8)
  strip = np.asarray(ranked_examples.ranked_strip("a man", [grey, grey, grey], [True, False, True], height=80)).astype(
    int
  )
  green, red = (
    np.all(strip == [int(colour[i : i + 2], 16) for i in (1, 3, 5)], axis=-1)
    for colour in (ranked_examples.RIGHT, ranked_examples.WRONG)
  )
  row = int(np.argmax(red.any(axis=1)))  # the upper edge of the frames
  edges = ["g" if g else "r" if r else " " for g, r in zip(green[row], red[row], strict=True)]
  assert "".join(edges).split() == ["g" * 44, "r" * 44, "g" * 44]


def test_the_picture_holds_a_long_caption():
  grey = np.full((40, 20, 3), 128, np.uint8)
  short, long = (ranked_examples.ranked_strip("word " * num, [grey] * 3, [True] * 3, height=80) for num in (1, 60))
  assert long.width == short.width
  assert long.height > short.height + 5 * 11
