"""One HTML file that shows a run and loads nothing from elsewhere: table, curves, what single captions found."""

import pathlib
import re

from tireid_jax.reporting import page, svg_chart

_TEMPLATE = pathlib.Path(__file__).with_suffix(".html")
# Columns of percentages, in which the highest value stands out.
_METRICS = ("R@1", "R@5", "R@10", "mAP", "mINP")
# Of these the validation chart shows the first, which selects, and two that explain it.
_VALIDATED = ("R@1", "R@10", "mAP")
_HEADINGS = {"best": "Best", "worst": "Worst", "random": "Picked at random"}


def write_report(path, *, title, table, curves=None, ceilings=None, queries=(), notes=()):
  """Writes the report; a reader sees the whole file or none.

  Args:
    path: HTML file.
    title: of the page.
    table: list of {column: value}, all with the same columns; the first names the row. As for `format_table`.
    curves: {name of a stage: its records of `log.read_metrics`}, a row of charts each.
    ceilings: {what a query is made of: R@1 percent that it would reach with the true attributes}.
    queries: RankedQuery of `ranked.rank_queries`.
    notes: paragraphs of text below the title.
  """
  groups = {heading: [query for query in queries if query.kind == kind] for kind, heading in _HEADINGS.items()}
  page.write_page(
    path,
    _TEMPLATE,
    title=title,
    notes=notes,
    table=_table(table),
    ceilings=[page.Bar(name, value, f"{value:.2f}") for name, value in (ceilings or {}).items()],
    curves=_curves(curves or {}),
    queries=[(heading, group) for heading, group in groups.items() if group],
  )


def _table(rows):
  """Returns [{column: Cell}]: the highest value of each metric is marked."""
  metrics = [name for name in rows[0] if name in _METRICS and all(isinstance(row[name], float) for row in rows)]
  highest = {name: max(row[name] for row in rows) for name in metrics}
  return [
    {
      name: page.Cell(_shown(value), "highest" if name in highest and value == highest[name] else "")
      for name, value in row.items()
    }
    for row in rows
  ]


def _shown(value):
  if isinstance(value, float):
    return f"{value:.2f}"
  return f"{value:,}" if isinstance(value, int) else str(value)


def _curves(curves):
  """Returns a list of two charts for each stage; the validation charts share an axis, so that stages compare."""
  validated = {name: _validation_series(records) for name, records in curves.items()}
  values = [value for series in validated.values() for line in series.values() for _, value in line]
  rows = []
  for name, records in curves.items():
    charts = [
      *_chart(f"{name}: loss", _loss_series(records)),
      *_chart(f"{name}: validation, percent", validated[name], y_range=(0, max([*values, 1])), unit="%"),
    ]
    if charts:
      rows.append(charts)
  return rows


def _chart(title, series, **options):
  """Yields the chart of some series, or nothing without any."""
  if series:
    drawing = svg_chart.line_chart(series, label=f"{title} over the step", **options)
    yield {"title": title, "legend": svg_chart.legend(series), "drawing": drawing}


def _series(records, names):
  """Returns {shown name: [(step, value), ...]} of the metrics {name: shown name} that were recorded."""
  series = {}
  for name, shown in names.items():
    line = [(record["step"], record[name]) for record in records if name in record]
    if line:
      series[shown] = line
  return series


def _loss_series(records):
  names = {name for record in records for name in record if name.startswith("loss/")}
  terms = sorted(names - {"loss/total"})
  # With a single term of weight 1 the total is that term.
  shown = ["loss/total", *terms[:3]] if len(terms) > 1 else ["loss/total"]
  return _series(records, {name: name.removeprefix("loss/") for name in shown})


def _validation_series(records):
  names = {name for record in records for name in record}
  found = {}
  for figure in _VALIDATED:
    for name in sorted(names):
      if re.fullmatch(rf"\w+/t2i/{figure}", name):
        found[name] = figure
  return _series(records, found)
