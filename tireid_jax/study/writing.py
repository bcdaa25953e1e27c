"""Writes a table as Markdown, CSV and a figure, each with the protocol that produced it."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tireid_jax import metrics
from tireid_jax.evaluation import significance
from tireid_jax.storage import files
from tireid_jax.study import figures, gap, transfer
from tireid_jax.study import results as results_lib
from tireid_jax.study.groups import Group
from tireid_jax.study.results import RowResult
from tireid_jax.study.tables import Table

_METRICS = tuple(metrics.METRICS)


def write(
  folder: pathlib.Path,
  name: str,
  table: Table,
  found: Mapping[Group, Sequence[RowResult]],
  *,
  config: ConfigDict,
  command: str,
  failures: Mapping[str, str],
  choices: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
  untuned: Mapping[str, int] | None = None,
) -> list[pathlib.Path]:
  """Writes NAME.md, NAME.csv and, for a table with a figure, NAME.svg, and returns their paths.

  Args:
    folder: of the results.
    name: of the table.
    table: its title and rows.
    found: results of its rows, by group.
    config: of the study.
    command: that produced the table.
    failures: {entry: reason} of this run.
    choices: of the plan, where the rows were tuned.
    untuned: {row: number of missing runs} of rows whose tuning is not finished.
  """
  every = [result for results in found.values() for result in results]
  markdown, comma, figure = (folder / f"{name}.{ending}" for ending in ("md", "csv", "svg"))
  protocol = protocol_lines(every, config, command)
  lines = [f"# {table.title}", ""]
  for group, results in found.items():
    lines += [*([f"## {group.name}", ""] if group.name else []), *_body(table, results)]
  lines += gap.table(found)
  lines += [*_explanation(table, every), *_notes(table), ""]
  if points := figures.points(table, found):
    figures.write(figure, table, points, [line for line in protocol if not line.startswith("Command")])
    lines += [f"![{table.title}]({figure.name})", ""]
  lines += [*_protocol(found, protocol), *_choices(choices or {}), *_missing(found, failures, untuned or {})]
  files.write_text(markdown, "\n".join(lines) + "\n")
  files.write_text(comma, _csv(name, found, protocol))
  return [markdown, comma, *([figure] if points else [])]


def _body(table, found):
  if not any(result.records for result in found):
    return ["No run is finished.", ""]
  if not table.compares:
    return [*transfer.matrix(found), ""]
  return [*_table(found), "", *_further(found)]


def _further(found):
  """Returns the table of results other than retrieval in the domain of training, [] if they were not measured."""
  names = list(dict.fromkeys(name for result in found for name in result.further_names()))
  if not names:
    return []
  lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
  lines += [f"| {result.row.name} | {' | '.join(result.further(name) for name in names)} |" for result in found]
  return [*lines, ""]


def _choices(choices):
  if not choices:
    return []
  lines = ["", "## Selected by validation", "", "Every row had the same grid of learning rates and epochs.", ""]
  lines += [
    "| row | stage | learning rate | epochs | validation | runs | longest wins |",
    "|---|---|---:|---:|---:|---:|---|",
  ]
  for row, stages in choices.items():
    for stage, chosen in stages.items():
      lines.append(
        f"| {row} | {stage} | {chosen['learning_rate']:.3g} | {chosen['epochs']} | {chosen['validation']:.2f} | "
        f"{chosen['candidates']} | {'yes' if chosen['longest_wins'] else 'no'} |"
      )
  return lines


def _notes(table):
  return [line for note in table.notes for line in ("", note)]


def _protocol(found, protocol):
  lines = ["## Protocol", "", *(f"- {line}" for line in protocol)]
  lines += ["", "| row | ablation | config digest | seeds |", "|---|---|---|---|"]
  for group, results in found.items():
    where = f" ({group.name})" if group.name else ""
    lines += [
      f"| {result.row.name}{where} | `{result.row.ablation or '-'}` | {_digest(result)} | {_seeds(result.records)} |"
      for result in results
    ]
  return lines


def _digest(result):
  return f"`{result.digest}`" if result.digest else "not tuned yet"


def _missing(found, failures, untuned):
  missing = [
    f"- {result.row.name}{f' ({group.name})' if group.name else ''}: seeds {_seeds(result.missing)}"
    for group, results in found.items()
    for result in results
    if result.missing
  ]
  missing += [f"- {row}: not tuned yet, {num} runs of its grid are missing" for row, num in untuned.items()]
  lines = ["", "## Missing", "", *missing] if missing else []
  if failures:
    lines += ["", "Failed in the run that wrote this:", ""]
    lines += [f"- {entry}: {reason}" for entry, reason in failures.items()]
  return lines


def _table(found):
  reference = found[0].row.name
  columns = ["", *_METRICS, *(f"{metric} − {reference}" for metric in results_lib.TESTED), "steps", "TFLOP", "seconds"]
  lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
  for result in found:
    differences = [results_lib.in_words(result.differences.get(metric)) for metric in results_lib.TESTED]
    cells = [result.row.name, *(result.cell(metric) or "missing" for metric in _METRICS), *differences]
    costs = [("steps", 1.0), ("flops", 1e12), ("seconds", 1.0)]
    cells += ["" if result.cost(name) is None else _number(result.cost(name) / unit) for name, unit in costs]
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def _number(value):
  return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def _spread(found):
  num_seeds = max((len(result.records) for result in found), default=0)
  if num_seeds > 1:
    return f"Mean ± sample standard deviation over {num_seeds} seeds, text to image, percent."
  return "One seed, text to image, percent: nothing here says what another seed would give."


def _explanation(table, found):
  if not table.compares:
    return [f"{_spread(found)} R@1 / mAP."]
  num_seeds = max((len(result.records) for result in found), default=0)
  resampled = f"{'seeds and ' if num_seeds > 1 else ''}identities with all of their queries"
  text = (
    f"{_spread(found)} Differences are in percentage points, with the {significance.INTERVAL_PERCENT}% interval of a "
    f"paired bootstrap that resamples {resampled}. A difference whose interval contains 0 is {results_lib.UNRESOLVED}; "
    "after ± is half the width of its interval, about the smallest difference that could be seen. The intervals are "
    "not corrected for the number of rows. Steps, "
    "floating-point operations (with captions of the longest length) and seconds are those of all training stages but "
    "the pre-training."
  )
  further = (
    "Drift is 1 minus the linear CKA of the test split's embeddings before and after training; the others are those "
    "of the same model on held-out data of pre-training, and on persons of a domain that it was not trained on. In "
    "parentheses: the difference from the first row, with Student's t interval over the seeds, where that does not "
    "contain 0."
  )
  return [text, *(["", further] if any(result.further_names() for result in found) else [])]


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
  if config.study.gallery_persons:
    lines.append(f"Gallery: about {config.study.gallery_persons} persons for each query, the same for all rows")
  if "toy" in config:
    lines.append("Persons: synthetic; each seed generates its own (`toy.seed` of the config plus the seed)")
  return lines


def _csv(name, found, protocol):
  stream = io.StringIO()
  stream.writelines(f"# {line}\n" for line in protocol)
  out = csv.writer(stream, lineterminator="\n")
  costs = ("steps", "flops", "seconds", "trainable_parameters")
  further = list(dict.fromkeys(name for results in found.values() for one in results for name in one.further_names()))
  header = ["table", "group", "row", "ablation", "digest", "seed", "dataset", "split", *_METRICS, "selection", *costs]
  out.writerow([*header, *further])
  for group, results in found.items():
    for result in results:
      for seed, record in result.records.items():
        data = record.data
        row = [name, group.name, result.row.name, result.row.ablation, result.digest, seed, data["dataset"]]
        row += [data["split"], *(f"{data['t2i'][metric]:.4f}" for metric in _METRICS)]
        row.append(f"{data['selection']['t2i']['R@1']:.4f}" if data["selection"] else "")
        row += [data["cost"][cost] for cost in costs]
        known = results_lib.further_values(record)
        out.writerow([*row, *(f"{known[name]:.4f}" if name in known else "" for name in further)])
  return stream.getvalue()


def _seeds(seeds):
  return ", ".join(map(str, seeds)) or "none"
