"""Galleries of a fixed number of persons: who is in them, and what that changes."""

import numpy as np
import pytest

from tireid_jax import metrics
from tireid_jax.evaluation import fixed_gallery


def test_every_person_is_in_one_gallery_and_the_sizes_differ_by_at_most_one():
  parts = fixed_gallery.groups(np.repeat(np.arange(100, 350), 3), 100)
  assert sorted(len(part) for part in parts) == [125, 125]
  np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(100, 350))
  assert [len(part) for part in fixed_gallery.groups(np.arange(30), 100)] == [30]


def test_the_division_is_the_same_every_time_and_not_in_order():
  ids = np.arange(1000)
  first, second = fixed_gallery.groups(ids, 100), fixed_gallery.groups(ids, 100)
  np.testing.assert_array_equal(first, second)
  assert np.ptp(first[0]) > 500


def test_a_query_competes_only_with_the_persons_of_its_gallery():
  ids = np.arange(4)
  own, other = fixed_gallery.groups(ids, 2)
  gallery = np.eye(4, dtype=np.float32)
  query = gallery.copy()
  # It is more similar to a person of the other gallery, and less to the other one of its own.
  query[own[0]] = 2 * gallery[other[0]] + gallery[own[0]]
  whole = metrics.query_scores(query, gallery, ids, ids)
  found = fixed_gallery.query_scores(query, gallery, ids, ids, 2)
  assert (whole.first_rank[own[0]], found.first_rank[own[0]]) == (2, 1)
  query[own[0]] = 2 * gallery[own[1]] + gallery[own[0]]
  assert fixed_gallery.query_scores(query, gallery, ids, ids, 2).first_rank[own[0]] == 2


@pytest.mark.parametrize("num_persons", [20, 1000])
def test_one_gallery_of_all_persons_gives_the_usual_scores_in_the_order_of_the_queries(num_persons):
  rng = np.random.default_rng(0)
  gallery_ids, query_ids = np.repeat(np.arange(20), 3), rng.permutation(np.repeat(np.arange(20), 2))
  query, gallery = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(60, 8)).astype(np.float32)
  expected = metrics.query_scores(query, gallery, query_ids, gallery_ids)
  found = fixed_gallery.query_scores(query, gallery, query_ids, gallery_ids, num_persons)
  for name, values in vars(expected).items():
    np.testing.assert_array_equal(values, getattr(found, name))


def test_scores_of_several_galleries_are_in_the_order_of_the_queries():
  rng = np.random.default_rng(0)
  gallery_ids, query_ids = np.repeat(np.arange(20), 3), rng.permutation(np.repeat(np.arange(20), 2))
  query, gallery = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(60, 8)).astype(np.float32)
  found = fixed_gallery.query_scores(query, gallery, query_ids, gallery_ids, 5)
  np.testing.assert_array_equal(found.query_ids, query_ids)
  for identities in fixed_gallery.groups(gallery_ids, 5):
    own, shown = np.isin(query_ids, identities), np.isin(gallery_ids, identities)
    alone = metrics.query_scores(query[own], gallery[shown], query_ids[own], gallery_ids[shown])
    np.testing.assert_array_equal(found.first_rank[own], alone.first_rank)
