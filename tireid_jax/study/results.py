"""The results of a table: mean ± standard deviation of each row, and its difference from the table's first row."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.evaluation import significance
from tireid_jax.evaluation.significance import Difference
from tireid_jax.study.entries import Entry
from tireid_jax.study.records import Record
from tireid_jax.study.tables import Row
from tireid_jax.terminal.table import mean_and_std

# Metrics whose difference is tested.
TESTED = ("R@1", "mAP")
UNRESOLVED = "not resolved"


@dataclasses.dataclass(frozen=True, eq=False)
class RowResult:
  """The finished entries of a row.

  Attributes:
    row: of the table.
    digest: of its entries; "" if it is not tuned yet.
    records: by seed.
    missing: seeds that are not finished; none if it is not tuned yet.
    differences: from the reference row, by metric, over the seeds that both have; {} for the reference itself.
    further_differences: likewise, of the further results, with Student's t interval; {} with fewer than two seeds.
  """

  row: Row
  digest: str
  records: Mapping[int, Record]
  missing: Sequence[int]
  differences: Mapping[str, Difference]
  further_differences: Mapping[str, Difference]

  def cell(self, metric: str) -> str:
    """Returns the mean ± sample standard deviation of a text-to-image metric over the seeds, "" without any."""
    values = [record.data["t2i"][metric] for record in self.records.values()]
    if not values:
      return ""
    spread = mean_and_std(values)
    return f"{spread:.2f}" if isinstance(spread, float) else spread

  def mean(self, metric: str) -> float | None:
    """Returns the mean of a text-to-image metric over the seeds, None without any."""
    values = [record.data["t2i"][metric] for record in self.records.values()]
    return float(np.mean(values)) if values else None

  def further_names(self) -> list[str]:
    """Returns the names of the further results, [] if they were not measured."""
    return list(dict.fromkeys(name for record in self.records.values() for name in further_values(record)))

  def further(self, name: str) -> str:
    """Returns the mean ± standard deviation of a further result, "" without any, and its difference if resolved."""
    values = [found[name] for record in self.records.values() if name in (found := further_values(record))]
    if not values:
      return ""
    spread = mean_and_std(values)
    difference = self.further_differences.get(name)
    cell = spread if isinstance(spread, str) else f"{spread:.2f}"
    return f"{cell} ({in_words(difference)})" if difference and difference.is_resolved else cell

  def cost(self, name: str) -> float | None:
    """Returns the mean of a cost over the seeds: "steps", "flops", "seconds" or "trainable_parameters"."""
    values = [record.data["cost"][name] for record in self.records.values()]
    return float(np.mean(values)) if values else None


def further_values(record: Record) -> dict[str, float]:
  """Returns {name: value} of the further results of a record: drift, R@1 and, of domains of persons, mAP."""
  found = record.data.get("further", {})
  flat = {f"drift ({side})": value for side, value in found.get("drift", {}).items()}
  for name, values in found.items():
    metrics = {"drift": (), "held_out": ("R@1",)}.get(name, TESTED)
    flat |= {f"{metric}, {name.replace('_', ' ')}": values[metric] for metric in metrics}
  return flat


def of_rows(
  rows: Sequence[Row],
  entries: Iterable[Entry],
  records: Mapping[Entry, Record],
  *,
  share_queries: bool,
  compares: bool = True,
) -> list[RowResult]:
  """Returns the result of each row, compared with the first one.

  Args:
    rows: of a table; rows with the digest of an earlier row are left out.
    entries: of these rows, with all seeds.
    records: of the finished entries.
    share_queries: whether all seeds have the same test queries.
    compares: False to compare no rows.
  """
  by_row: dict[Row, dict[int, Entry]] = {row: {} for row in rows}
  for entry in entries:
    by_row[entry.row][entry.seed] = entry
  results: list[RowResult] = []
  for row, by_seed in by_row.items():
    digest = next((entry.digest for entry in by_seed.values()), "")
    if digest and digest in {result.digest for result in results}:
      continue
    own = {seed: records[entry] for seed, entry in by_seed.items() if entry in records}
    missing = [seed for seed in by_seed if seed not in own]
    reference = results[0].records if results and compares else {}
    pairs = [(reference[seed], own[seed]) for seed in own if seed in reference]
    differences = _compare(pairs, share_queries) if pairs else {}
    results.append(RowResult(row, digest, own, missing, differences, _compare_further(pairs)))
  return results


def _compare(pairs, share_queries):
  for first, second in pairs:
    wrong = [name for name in ("dataset", "fingerprint", "split") if first.data[name] != second.data[name]]
    if wrong:
      raise UserError(
        f"the results {first.data['digest']} and {second.data['digest']} of seed {first.data['seed']} are of different "
        f"data ({', '.join(wrong)}); remove those of the former data from --results, and run the same command again"
      )
  first, second = ([record.scores for record in side] for side in zip(*pairs, strict=True))
  found = significance.compare_seeds(first, second, share_queries=share_queries)
  return {name: found[name] for name in TESTED}


def _compare_further(pairs):
  known = [(further_values(first), further_values(second)) for first, second in pairs]
  if len(known) < 2:
    return {}
  names = [name for name in known[0][1] if all(name in first and name in second for first, second in known)]
  return {
    name: significance.difference_over_seeds(*([values[name] for values in side] for side in zip(*known, strict=True)))
    for name in names
  }


def in_words(difference: Difference | None) -> str:
  """Returns "+1.20 [0.40, 2.00]", or "not resolved (+0.30, ±1.10)" if the interval contains 0; "" for None."""
  if difference is None:
    return ""
  if difference.is_resolved:
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
  return f"{UNRESOLVED} ({difference.mean:+.2f}, ±{(difference.high - difference.low) / 2:.2f})"


def protocol(results: Sequence[RowResult]) -> dict[str, Any]:
  """Returns the data sets and splits of the records of a table."""
  records = [record.data for result in results for record in result.records.values()]
  return {name: sorted({str(record[name]) for record in records}) for name in ("dataset", "split")}
