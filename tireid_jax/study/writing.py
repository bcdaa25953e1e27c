"""Writes a table as Markdown and CSV, each with the protocol that produced it."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from tireid_jax import metrics
from tireid_jax.evaluation import significance
from tireid_jax.storage import files
from tireid_jax.study import results as results_lib
from tireid_jax.study.results import RowResult
from tireid_jax.study.tables import Table

_METRICS = tuple(metrics.METRICS)


def write(
  folder: pathlib.Path,
  name: str,
  table: Table,
  found: Sequence[RowResult],
  *,
  config: ConfigDict,
  command: str,
  failures: Mapping[str, str],
) -> list[pathlib.Path]:
  """Writes NAME.md and NAME.csv and returns their paths.

  Args:
    folder: of the results.
    name: of the table.
    table: its title and rows.
    found: results of its rows.
    config: of the study.
    command: that produced the table.
    failures: {entry: reason} of this run.
  """
  markdown, comma = folder / f"{name}.md", folder / f"{name}.csv"
  files.write_text(markdown, _markdown(name, table, found, config, command, failures))
  files.write_text(comma, _csv(name, found, command))
  return [markdown, comma]


def _markdown(name, table, found, config, command, failures):
  lines = [f"# {table.title}", "", *_table(found), "", *_explanation(found), "", "## Protocol", ""]
  lines += [f"- {line}" for line in protocol_lines(found, config, command)]
  lines += ["", "| row | ablation | config digest | seeds |", "|---|---|---|---|"]
  lines += [
    f"| {result.row.name} | `{result.row.ablation or '-'}` | `{result.digest}` | {_seeds(result.records)} |"
    for result in found
  ]
  missing = [result for result in found if result.missing]
  if missing:
    lines += ["", "## Missing", ""]
    lines += [f"- {result.row.name}: seeds {_seeds(result.missing)}" for result in missing]
  if failures:
    lines += ["", "Failed in the run that wrote this:", ""]
    lines += [f"- {entry}: {reason}" for entry, reason in failures.items()]
  return "\n".join(lines) + "\n"


def _table(found):
  reference = found[0].row.name
  columns = ["", *_METRICS, *(f"{metric} − {reference}" for metric in results_lib.TESTED), "steps", "seconds"]
  lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
  for result in found:
    differences = [results_lib.in_words(result.differences.get(metric)) for metric in results_lib.TESTED]
    cells = [result.row.name, *(result.cell(metric) or "missing" for metric in _METRICS), *differences]
    cells += ["" if result.cost(name) is None else f"{result.cost(name):,.0f}" for name in ("steps", "seconds")]
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def _explanation(found):
  num_seeds = max(len(result.records) for result in found)
  spread = (
    f"Mean ± sample standard deviation over {num_seeds} seeds, text to image, percent."
    if num_seeds > 1
    else "One seed, text to image, percent: nothing here says what another seed would give."
  )
  resampled = f"{'seeds and ' if num_seeds > 1 else ''}identities with all of their queries"
  return [
    f"{spread} Differences are in percentage points, with their {significance.INTERVAL_PERCENT}% interval of a paired "
    f"bootstrap that resamples {resampled}. A difference whose interval contains 0 is {results_lib.UNRESOLVED}; "
    "after ± is half the width of its interval, about the smallest difference that could be seen. The intervals are "
    "not corrected for the number of rows. Steps and seconds are those of all training stages but the pre-training.",
  ]


def protocol_lines(found: Sequence[RowResult], config: ConfigDict, command: str) -> list[str]:
  """Returns the protocol of a table, one statement per line."""
  known = results_lib.protocol(found)
  seeds = sorted({seed for result in found for seed in result.records})
  selected = {
    "val": f"the checkpoint with the best {config.select_by} on the validation split; the test split is scored once",
    "test": f"the checkpoint with the best {config.select_by} on the TEST split, as most published results; biased",
    "last": "none: the last checkpoint",
  }[config.select_on]
  lines = [
    f"Command: `{command}`",
    f"Seeds: {', '.join(map(str, seeds)) or 'none finished'}",
    f"Data: {', '.join(known['dataset']) or config.data.name}, split {', '.join(known['split']) or 'test'}",
    f"Selection: {selected}",
    f"Weights: `{config.pretrained or 'none'}`",
  ]
  if "toy" in config:
    lines.append("Persons: synthetic; each seed draws its own (`toy.seed` of the config plus the seed)")
  return lines


def _csv(name, found, command):
  stream = io.StringIO()
  stream.write(f"# {command}\n")
  out = csv.writer(stream, lineterminator="\n")
  costs = ("steps", "seconds", "trainable_parameters")
  header = ["table", "row", "ablation", "digest", "seed", "dataset", "split", *_METRICS, "selection", *costs]
  out.writerow(header)
  for result in found:
    for seed, record in result.records.items():
      data = record.data
      row = [name, result.row.name, result.row.ablation, result.digest, seed, data["dataset"], data["split"]]
      row += [f"{data['t2i'][metric]:.4f}" for metric in _METRICS]
      row.append(f"{data['selection']['t2i']['R@1']:.4f}" if data["selection"] else "")
      out.writerow([*row, *(data["cost"][cost] for cost in costs)])
  return stream.getvalue()


def _seeds(seeds):
  return ", ".join(map(str, seeds)) or "none"
