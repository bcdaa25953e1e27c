"""Whether two results on the same queries differ by more than chance: a paired bootstrap, and over seeds a t test."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from tireid_jax.errors import UserError
from tireid_jax.evaluation.score_file import ScoreFile
from tireid_jax.metrics import DIRECTIONS, QueryScores

INTERVAL_PERCENT = 95
# Bytes of one array of a chunk of resamples; a few of them are held at a time.
CHUNK_BYTES = 2**25


def compare(
  first: ScoreFile, second: ScoreFile, *, num_resamples: int = 10_000, seed: int = 0, by_identity: bool = True
) -> list[dict[str, str | float]]:
  """Returns table rows, one for each direction and metric: both results, their difference, its interval and p-value.

  Args:
    first, second: results on the same queries.
    num_resamples: how often the queries are resampled with replacement; each resample is scored for both results.
    seed: of the resampling.
    by_identity: resample identities with all of their queries (a cluster bootstrap), since queries of one person are
      not independent; False resamples single queries.

  Raises:
    UserError: the results are of different queries.
  """
  if num_resamples < 1:
    raise UserError(f"--num_resamples={num_resamples} must be at least 1")
  if seed < 0:
    raise UserError(f"--seed={seed} must be at least 0")
  check_same_queries(first, second)
  rows: list[dict[str, str | float]] = []
  for number, direction in enumerate(DIRECTIONS):
    before, after = (result.scores[direction].by_query() for result in (first, second))
    query_ids = first.scores[direction].query_ids
    groups = np.unique(query_ids, return_inverse=True)[1] if by_identity else np.arange(len(query_ids))
    differences = np.stack([after[name] - before[name] for name in before], axis=1)  # [N, metrics]
    resampled = bootstrap_means(differences, groups, num_resamples, np.random.default_rng([seed, number]))
    tail = (100 - INTERVAL_PERCENT) / 2
    low, high = np.percentile(resampled, (tail, 100 - tail), axis=0)
    for i, name in enumerate(before):
      rows.append(
        {
          "direction": DIRECTIONS[direction],
          "metric": name,
          "W1": float(before[name].mean()),
          "W2": float(after[name].mean()),
          "W2-W1": float(differences[:, i].mean()),
          "low": float(low[i]),
          "high": float(high[i]),
          "p": f"{p_value(resampled[:, i]):.4f}",
        }
      )
  return rows


def check_same_queries(first: ScoreFile, second: ScoreFile) -> None:
  """Raises UserError unless both results are of the same queries."""
  for name in ("dataset", "split", "fingerprint"):
    ours, theirs = getattr(first, name), getattr(second, name)
    if ours != theirs:
      raise UserError(
        f"{first.path} and {second.path} are results of different data: {name} {ours} and {theirs}; compare results "
        f"of the same split of the same prepared data set"
      )
  for direction, words in DIRECTIONS.items():
    ours, theirs = first.scores[direction].query_ids, second.scores[direction].query_ids
    if not np.array_equal(ours, theirs):
      raise UserError(
        f"{first.path} and {second.path} have different queries, {words}: {len(ours)} and {len(theirs)}, or others of "
        f"the same number; compare results with the same val_identities and seed"
      )


@dataclasses.dataclass(frozen=True)
class Difference:
  """The difference of two methods in a metric, over several seeds, in percentage points.

  Attributes:
    mean: over the seeds, of the difference of their means over queries.
    low, high: INTERVAL_PERCENT interval.
    p: two-sided p-value of no difference.
  """

  mean: float
  low: float
  high: float
  p: float

  @property
  def is_resolved(self) -> bool:
    """Whether the interval is on one side of 0."""
    return self.low > 0 or self.high < 0


def compare_seeds(
  first: Sequence[QueryScores],
  second: Sequence[QueryScores],
  *,
  share_queries: bool,
  num_resamples: int = 2_000,
  seed: int = 0,
) -> dict[str, Difference]:
  """Returns {metric: Difference} of second - first; the interval is the wider of two.

  One is that of a paired bootstrap: each resample has as many seeds as there are, with replacement, and identities with
  all of their queries. With few seeds it is too narrow, since their resampled variance is too small by the factor
  (S - 1) / S. The other is Student's t interval of the mean over seeds, which has no such bias. Likewise, the p-value
  is the larger of two. With one seed, only identities are resampled, and the interval does not cover what another seed
  would change. docs/study.md has rates of false positives, measured by simulation.

  Args:
    first, second: scores of both methods by seed; scores of one seed are of the same queries.
    share_queries: whether all seeds have the same queries, whose identities are then resampled once for all seeds, as
      on a real data set; False where each seed has persons of its own.
    num_resamples: number of resamples.
    seed: of the resampling.

  Raises:
    UserError: the results of a seed are of different queries.
  """
  for before, after in zip(first, second, strict=True):
    if not np.array_equal(before.query_ids, after.query_ids):
      raise UserError("the results of a seed are of different queries; score both on the same prepared data")
  names = list(first[0].by_query())
  values = [_differences(before, after) for before, after in zip(first, second, strict=True)]  # [N, metrics] each
  groups = [np.unique(before.query_ids, return_inverse=True)[1] for before in first]
  rng = np.random.default_rng(seed)
  num_seeds = len(values)
  drawn = rng.integers(num_seeds, size=(num_resamples, num_seeds))
  means = np.empty((num_resamples, num_seeds, len(names)))
  if share_queries:
    of_seeds = bootstrap_means(np.concatenate(values, axis=1), groups[0], num_resamples, rng)
    of_seeds = of_seeds.reshape(num_resamples, num_seeds, len(names))
    means = np.take_along_axis(of_seeds, drawn[:, :, None], axis=1)
  else:
    for slot in range(num_seeds):
      for number in range(num_seeds):
        chosen = np.flatnonzero(drawn[:, slot] == number)
        means[chosen, slot] = bootstrap_means(values[number], groups[number], len(chosen), rng)
  resampled = means.mean(axis=1)  # [resamples, metrics]
  tail = (100 - INTERVAL_PERCENT) / 2
  low, high = np.percentile(resampled, (tail, 100 - tail), axis=0)
  p = np.array([p_value(column) for column in resampled.T])
  of_seeds = np.stack([value.mean(axis=0) for value in values])  # [seeds, metrics]
  mean = of_seeds.mean(axis=0)
  if num_seeds > 1:
    t_low, t_high, t_p = _student(of_seeds)
    low, high, p = np.minimum(low, t_low), np.maximum(high, t_high), np.maximum(p, t_p)
  return {name: Difference(float(mean[i]), float(low[i]), float(high[i]), float(p[i])) for i, name in enumerate(names)}


def difference_over_seeds(first: Sequence[float], second: Sequence[float]) -> Difference:
  """Returns second - first of a percentage with one value per seed, with Student's t interval.

  Args:
    first, second: values of both methods by seed, at least two.
  """
  values = np.subtract(second, first)
  low, high, p = _student(values)
  return Difference(float(values.mean()), float(low), float(high), float(p))


def _student(values):
  """Returns (low, high, p) of the mean of differences in percentage points over their first axis, the seeds."""
  num_seeds, mean = len(values), values.mean(axis=0)
  error = values.std(axis=0, ddof=1) / num_seeds**0.5
  half = stats.t.ppf((100 + INTERVAL_PERCENT) / 200, num_seeds - 1) * error
  ratio = np.divide(np.abs(mean), error, out=np.full_like(mean, np.inf), where=error > 0)
  # Percentage points cannot differ by more than 100.
  return np.maximum(mean - half, -100), np.minimum(mean + half, 100), 2 * stats.t.sf(ratio, num_seeds - 1)


def _differences(before, after):
  first, second = before.by_query(), after.by_query()
  return np.stack([second[name] - first[name] for name in first], axis=1)


def bootstrap_means(values: np.ndarray, groups: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
  """Returns f64[num_resamples, metrics], means of `values` over groups that are resampled with replacement.

  Args:
    values: f64[N, metrics].
    groups: i64[N] in 0..num_groups-1; queries of one group are resampled together.
    num_resamples: of the groups.
    rng: random numbers.
  """
  sizes = np.bincount(groups).astype(np.float64)
  sums = np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)  # [groups, metrics]
  num_groups = len(sizes)
  means = np.empty((num_resamples, values.shape[1]))
  chunk_size = max(1, CHUNK_BYTES // (8 * num_groups))
  for start in range(0, num_resamples, chunk_size):
    size = min(chunk_size, num_resamples - start)
    sampled = rng.integers(num_groups, size=(size, num_groups)) + num_groups * np.arange(size)[:, None]
    # How often each group was sampled: the sum over a resample is then a matrix product.
    counts = np.bincount(sampled.ravel(), minlength=size * num_groups).reshape(size, num_groups).astype(np.float64)
    means[start : start + size] = (counts @ sums) / (counts @ sizes)[:, None]
  return means


def p_value(resampled: np.ndarray) -> float:
  """Returns the two-sided p-value of no difference, from f64[resamples] differences.

  It is twice the smaller fraction on one side of 0, where the data themselves count as one resample.
  """
  beyond = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
  return min(1.0, 2 * (beyond + 1) / (len(resampled) + 1))
