"""The report of a run as one self-contained HTML file: results table, training curves and example queries."""

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tireid_jax import metrics
from tireid_jax.reporting import page, svg_chart

_TEMPLATE = pathlib.Path(__file__).with_suffix(".html")
# Metrics without a validation curve, unless the run selects by them: R@5 runs between R@1 and R@10, mINP below mAP.
_WITHOUT_CURVE = ("R@5", "mINP")
_HEADINGS = {"best": "Best", "worst": "Worst", "random": "Picked at random"}


Record = Mapping[str, Any]  # as of metric_log.read_metrics
Series = dict[str, list[tuple[int, float]]]  # name in the legend -> (step, value) of each point


def write_report(
  path: str | pathlib.Path,
  *,
  title: str,
  table: Sequence[Mapping[str, Any]],
  curves: Mapping[str, Sequence[Record]] | None = None,
  select_by: str = "t2i/R@1",
  ceilings: Mapping[str, float] | None = None,
  queries: Sequence[Any] = (),
  notes: Sequence[str] = (),
) -> None:
  """Writes the report atomically.

  Args:
    path: HTML file.
    title: of the page.
    table: results by column; all have the same columns, and the first column is the row header.
    curves: records of `metric_log.read_metrics` by stage; each stage has its own row of charts.
    select_by: the metric that selected the checkpoints, as in the config; its validation curve is always shown.
    ceilings: R@1 in percent that queries by the true attributes reach, by group of attributes.
    queries: `RankedQuery`s of `ranked_examples.rank_queries`.
    notes: paragraphs below the title.
  """
  groups = {heading: [query for query in queries if query.kind == kind] for kind, heading in _HEADINGS.items()}
  page.write_page(
    path,
    _TEMPLATE,
    title=title,
    notes=notes,
    table=_table(table),
    ceilings=[page.Bar(name, value, f"{value:.2f}") for name, value in (ceilings or {}).items()],
    curves=_curves(curves or {}, select_by),
    queries=[(heading, group) for heading, group in groups.items() if group],
  )


def _table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, page.Cell]]:
  """Returns the cells of each row by column; the highest value of each metric is marked."""
  names = [name for name in rows[0] if name in metrics.METRICS and all(isinstance(row[name], float) for row in rows)]
  highest = {name: max(row[name] for row in rows) for name in names}
  return [
    {
      name: page.Cell(_format(value), "highest" if name in highest and value == highest[name] else "")
      for name, value in row.items()
    }
    for row in rows
  ]


def _format(value: Any) -> str:
  if isinstance(value, float):
    return f"{value:.2f}"
  return f"{value:,}" if isinstance(value, int) else str(value)


def _curves(curves: Mapping[str, Sequence[Record]], select_by: str) -> list[list[dict[str, Any]]]:
  """Returns the charts of each stage that has any; all validation charts have the same y range, for comparison."""
  validation = {name: _validation_series(records, select_by) for name, records in curves.items()}
  values = [value for series in validation.values() for line in series.values() for _, value in line]
  rows = []
  for name, records in curves.items():
    charts = [
      *_charts(f"{name}: loss", _loss_series(records)),
      *_charts(f"{name}: validation, percent", validation[name], y_range=(0, max([*values, 1])), unit="%"),
    ]
    if charts:
      rows.append(charts)
  return rows


def _charts(title: str, series: Series, **options: Any) -> Iterator[dict[str, Any]]:
  """Yields charts of at most `svg_chart.MAX_SERIES` lines each; none if there are no series."""
  names = list(series)
  for start in range(0, len(names), svg_chart.MAX_SERIES):
    lines = {name: series[name] for name in names[start : start + svg_chart.MAX_SERIES]}
    drawing = svg_chart.line_chart(lines, label=f"{title} over the step", **options)
    yield {"title": title, "legend": svg_chart.legend(lines), "drawing": drawing}


def _series(records: Sequence[Record], names: Mapping[str, str]) -> Series:
  """Returns the series of the logged metrics in `names`, which maps each to its name in the legend."""
  series: Series = {}
  for name, label in names.items():
    line = [(record["step"], record[name]) for record in records if name in record]
    if line:
      series[label] = line
  return series


def _loss_series(records: Sequence[Record]) -> Series:
  names = {name for record in records for name in record if name.startswith("loss/")}
  terms = sorted(names - {"loss/total"})
  # With a single term of weight 1 the total is that term.
  shown = ["loss/total", *terms[: svg_chart.MAX_SERIES - 1]] if len(terms) > 1 else ["loss/total"]
  return _series(records, {name: name.removeprefix("loss/") for name in shown})


def _validation_series(records: Sequence[Record], select_by: str) -> Series:
  """Returns the logged text-to-image metrics in the order of METRICS, and the metric that selects the checkpoint."""
  shown = {f"t2i/{name}": name for name in metrics.METRICS if name not in _WITHOUT_CURVE or f"t2i/{name}" == select_by}
  if select_by not in shown:
    direction, _, name = select_by.partition("/")
    shown[select_by] = f"{name}, {metrics.DIRECTIONS[direction]}"
  logged = sorted({name for record in records for name in record})
  found: dict[str, str] = {}
  for metric, label in shown.items():
    found |= {name: label for name in logged if re.fullmatch(rf"\w+/{re.escape(metric)}", name)}
  return _series(records, found)
