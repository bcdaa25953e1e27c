"""Compares the paired bootstrap with its known statistical properties."""

import numpy as np
import pytest
from scipy import stats

from tests.ranked_results import NUM_QUERIES, both_directions, ranks, result, scores
from tireid_jax.errors import UserError
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


def test_the_interval_is_close_to_that_of_the_normal_distribution():
  before, after = ranks(0.4, 0), ranks(0.6, 1)
  differences = 100.0 * (after <= 1) - 100.0 * (before <= 1)
  half_width = 1.96 * differences.std() / NUM_QUERIES**0.5
  row = rows_by_metric(result(before), result(after), by_identity=False)["R@1"]
  assert [row["low"], row["high"]] == pytest.approx(
    [differences.mean() - half_width, differences.mean() + half_width], abs=0.08 * half_width
  )


def test_a_small_gain_on_the_same_queries_is_significant_because_they_are_paired():
  before = ranks(0.5, 0)
  after = before.copy()
  after[np.flatnonzero(before > 1)[:10]] = 1
  row = rows_by_metric(result(before), result(after), by_identity=False)["R@1"]
  assert row["low"] > 0
  assert float(row["p"]) < 0.01


def test_a_result_compared_with_itself_has_no_difference_and_p_1():
  row = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.5, 0)))["mAP"]
  assert (row["W2-W1"], row["low"], row["high"], row["p"]) == (0, 0, 0, "1.0000")


def test_swapping_the_results_only_changes_signs():
  original = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.55, 1)))["mAP"]
  swapped = rows_by_metric(result(ranks(0.55, 1)), result(ranks(0.5, 0)))["mAP"]
  expected = (-original["W2-W1"], -original["high"], -original["low"])
  assert (swapped["W2-W1"], swapped["low"], swapped["high"]) == pytest.approx(expected)
  assert swapped["p"] == original["p"]


def test_without_a_difference_p_is_below_5_percent_about_once_in_20_trials():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(400, 200))  # [trials, N]
  p = []
  for sample in values:
    resampled = significance.bootstrap_means(sample[:, None], np.arange(200), 400, rng)
    p.append(significance.p_value(resampled[:, 0]))
  assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_resampling_by_identity_widens_the_interval_if_queries_of_a_person_are_correlated():
  # Every four queries are of one person, so there are 50 independent samples instead of 200: twice the width.
  before, after = np.full(NUM_QUERIES, 20), np.repeat(ranks(0.5, 0)[:50], 4)
  widths = []
  for by_identity in (False, True):
    row = rows_by_metric(result(before), result(after), by_identity=by_identity)["R@1"]
    widths.append(row["high"] - row["low"])
  assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)


def test_groups_are_weighted_by_their_number_of_queries():
  values, groups = np.array([[0.0], [0.0], [0.0], [8.0]]), np.array([0, 0, 0, 1])
  means = significance.bootstrap_means(values, groups, 200, np.random.default_rng(0))
  assert set(means[:, 0].tolist()) == {0.0, 2.0, 8.0}


def test_the_seed_determines_the_resamples():
  two = result(ranks(0.5, 0)), result(ranks(0.6, 1))
  assert rows_by_metric(*two, seed=3) == rows_by_metric(*two, seed=3)
  assert rows_by_metric(*two, seed=3) != rows_by_metric(*two, seed=4)


def test_computing_resamples_in_chunks_does_not_change_the_means(monkeypatch):
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
def test_results_for_different_queries_raise(changes, message):
  with pytest.raises(ValueError) as error:
    significance.compare(result(ranks(0.5, 0)), result(ranks(0.5, 0), **changes))
  assert message in str(error.value)


def by_seed(*corrects):
  """Returns QueryScores for each seed: two queries of each identity, right at rank 1 where `correct` says so."""
  return [scores(np.where(np.repeat(right, 2), 1, 20), np.repeat(np.arange(len(right)), 2)) for right in corrects]


def test_with_one_seed_only_identities_are_resampled():
  first, second = by_seed([False, False]), by_seed([True, False])
  found = significance.compare_seeds(first, second, share_queries=False)["R@1"]
  # Resamples of two identities, of which one gains 100 points, gain 0, 50 or 100, with probabilities 1/4, 1/2, 1/4.
  assert (found.mean, found.low, found.high, found.is_resolved) == (50, 0, 100, False)
  assert found.p == pytest.approx(0.5, abs=0.05)


def test_a_difference_over_seeds_has_the_interval_of_a_paired_t_test():
  first, second = [20.0, 25.0, 23.0], [31.0, 33.0, 37.0]
  found = significance.difference_over_seeds(first, second)
  expected = stats.ttest_rel(second, first)
  interval = expected.confidence_interval(0.95)
  assert (found.mean, found.p) == pytest.approx((11.0, expected.pvalue))
  assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
  assert significance.difference_over_seeds([1.0, 2.0], [1.0, 2.0]).is_resolved is False


@pytest.mark.parametrize("share_queries", [True, False])
def test_seeds_that_differ_leave_a_difference_unresolved_however_many_identities_there_are(share_queries):
  none, all_right = [False] * 40, [True] * 40
  unclear = significance.compare_seeds(by_seed(none, none), by_seed(all_right, none), share_queries=share_queries)[
    "R@1"
  ]
  # By Student's t of one degree of freedom, 12.7 times the standard error of 50: beyond what percentages can differ by.
  assert (unclear.mean, unclear.low, unclear.high, unclear.is_resolved) == (50, -100, 100, False)
  clear = significance.compare_seeds(by_seed(none, none), by_seed(all_right, all_right), share_queries=share_queries)[
    "R@1"
  ]
  assert (clear.mean, clear.low, clear.high, clear.is_resolved) == (100, 100, 100, True)


def test_the_interval_of_seeds_that_differ_is_that_of_students_t():
  of_persons = [np.arange(400) < 200 + gain for gain in (4, 8, 12)]
  none = np.arange(400) < 200
  found = significance.compare_seeds(by_seed(none, none, none), by_seed(*of_persons), share_queries=True)["R@1"]
  # The seeds gain 1, 2 and 3 points: 4.303 times a standard error of 1 / sqrt(3).
  assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - 2.484, 2 + 2.484), abs=1e-3)
  assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_identities_that_all_seeds_share_are_resampled_once_for_all_of_them():
  half = np.arange(60) < 30
  studies = by_seed(*[np.zeros(60, bool)] * 4), by_seed(*[half] * 4)
  shared, own = (significance.compare_seeds(*studies, share_queries=share)["R@1"] for share in (True, False))
  # With persons of their own, four seeds have four times as many.
  assert (shared.high - shared.low) / (own.high - own.low) == pytest.approx(2, rel=0.1)
  assert shared.high - shared.low == pytest.approx(2 * 1.96 * 50 / 60**0.5, rel=0.1)


def test_seeds_of_different_queries_raise():
  with pytest.raises(ValueError, match="different queries"):
    significance.compare_seeds(by_seed([True, False]), by_seed([True] * 3), share_queries=False)


@pytest.mark.parametrize(("flag", "value", "least"), [("num_resamples", 0, 1), ("seed", -1, 0)])
def test_a_number_below_its_least_value_is_reported(flag, value, least):
  with pytest.raises(UserError, match=f"^--{flag}={value} must be at least {least}$"):
    significance.compare(result(ranks(0.5, 0)), result(ranks(0.5, 1)), **{flag: value})
