"""The paired bootstrap against what is known of it."""

import numpy as np
import pytest

from tests.ranked_results import NUM_QUERIES, both_directions, ranks, result, scores
from tireid_jax.evaluation import significance


def rows_by_metric(*results, **options):
  rows = significance.compare(*results, num_resamples=2000, **options)
  return {row["metric"]: row for row in rows if row["direction"] == "text to image"}


def test_the_table_has_both_results_and_their_difference():
  row = rows_by_metric(result(np.repeat([1, 20], 100)), result(np.repeat([1, 2], [150, 50])))["R@1"]
  assert (row["W1"], row["W2"], row["W2-W1"]) == (50.0, 75.0, 25.0)


def test_every_metric_of_both_directions_has_a_row():
  rows = significance.compare(result(ranks(0.5, 0)), result(ranks(0.5, 1)), num_resamples=10)
  assert [(row["direction"], row["metric"]) for row in rows] == [
    (direction, metric) for direction in ("text to image", "image to text") for metric in scores([1]).summary()
  ]


def test_interval_is_that_of_the_normal_distribution():
  before, after = ranks(0.4, 0), ranks(0.6, 1)
  differences = 100.0 * (after <= 1) - 100.0 * (before <= 1)
  half = 1.96 * differences.std() / NUM_QUERIES**0.5
  row = rows_by_metric(result(before), result(after), by_identity=False)["R@1"]
  assert [row["low"], row["high"]] == pytest.approx(
    [differences.mean() - half, differences.mean() + half], abs=0.08 * half
  )


def test_pairing_is_used_a_small_gain_on_the_same_queries_is_certain():
  before = ranks(0.5, 0)
  after = before.copy()
  after[np.flatnonzero(before > 1)[:10]] = 1
  row = rows_by_metric(result(before), result(after), by_identity=False)["R@1"]
  assert row["low"] > 0
  assert float(row["p"]) < 0.01


def test_the_same_result_twice_differs_by_nothing_with_p_1():
  row = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.5, 0)))["mAP"]
  assert (row["W2-W1"], row["low"], row["high"], row["p"]) == (0, 0, 0, "1.0000")


def test_exchanging_the_results_changes_signs_alone():
  forth = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.55, 1)))["mAP"]
  back = rows_by_metric(result(ranks(0.55, 1)), result(ranks(0.5, 0)))["mAP"]
  assert (back["W2-W1"], back["low"], back["high"]) == pytest.approx((-forth["W2-W1"], -forth["high"], -forth["low"]))
  assert back["p"] == forth["p"]


def test_p_of_no_difference_is_below_5_percent_about_once_in_20():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(400, 200))  # [trials, N]
  p = []
  for row in values:
    resampled = significance.bootstrap_means(row[:, None], np.arange(200), 400, rng)
    p.append(significance.p_value(resampled[:, 0]))
  assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_by_identity_is_wider_where_a_person_s_queries_rise_and_fall_together():
  # Every four queries are of one person, so there are 50 independent draws, not 200: twice the width.
  before, after = np.full(NUM_QUERIES, 20), np.repeat(ranks(0.5, 0)[:50], 4)
  widths = []
  for by_identity in (False, True):
    row = rows_by_metric(result(before), result(after), by_identity=by_identity)["R@1"]
    widths.append(row["high"] - row["low"])
  assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)


def test_groups_of_unlike_size_weigh_by_their_queries():
  values, groups = np.array([[0.0], [0.0], [0.0], [8.0]]), np.array([0, 0, 0, 1])
  means = significance.bootstrap_means(values, groups, 200, np.random.default_rng(0))
  assert set(means[:, 0].tolist()) == {0.0, 2.0, 8.0}


def test_the_seed_decides_the_draws():
  two = result(ranks(0.5, 0)), result(ranks(0.6, 1))
  assert rows_by_metric(*two, seed=3) == rows_by_metric(*two, seed=3)
  assert rows_by_metric(*two, seed=3) != rows_by_metric(*two, seed=4)


def test_chunks_of_resamples_hold_few_at_a_time_and_change_nothing(monkeypatch):
  values, groups = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60)
  whole = significance.bootstrap_means(values, groups, 25, np.random.default_rng(5))
  monkeypatch.setattr(significance, "CHUNK_BYTES", 8 * 60 * 7)
  np.testing.assert_allclose(significance.bootstrap_means(values, groups, 25, np.random.default_rng(5)), whole)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"fingerprint": "f01"}, "results of different data: fingerprint f00 and f01"),
    ({"split": "val"}, "results of different data: split test and val"),
    ({"scores": both_directions(np.ones(7))}, "different queries, text to image: 200 and 7"),
    (
      {"scores": both_directions(np.ones(200), np.arange(200))},
      "different queries, text to image: 200 and 200, or others of the same number",
    ),
  ],
)
def test_results_of_other_queries_are_rejected(changes, message):
  with pytest.raises(ValueError) as error:
    significance.compare(result(ranks(0.5, 0)), result(ranks(0.5, 0), **changes))
  assert message in str(error.value)
