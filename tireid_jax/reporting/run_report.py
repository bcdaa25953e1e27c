"""The report of a run as one self-contained HTML file: results, training curves, example queries, further sections."""

import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tireid_jax import metrics
from tireid_jax.reporting import page, sections, svg_chart, thumbnails

_TEMPLATE = pathlib.Path(__file__).with_suffix(".html")
# Metrics without a validation curve, unless the run selects by them: R@5 runs between R@1 and R@10, mINP below mAP.
_WITHOUT_CURVE = ("R@5", "mINP")
_HEADINGS = {"best": "Best", "worst": "Worst", "random": "Picked at random"}
# Of all pictures together, which leaves room for the text of a page of 3 MB.
MAX_IMAGE_BYTES = 2_200_000
# Percent of the color behind the most relevant word, whose text must remain readable, and below which there is none.
_DARKEST, _LIGHTEST = 60, 6
# Words that are listed with the change of the similarity.
_NUM_WORDS = 5
_PUNCTUATION = ".,;:!?()\"'“”"


Record = Mapping[str, Any]  # as of metric_log.read_metrics


def write_report(
  path: str | pathlib.Path,
  *,
  title: str,
  table: Sequence[Mapping[str, Any]],
  heading: str = "Results on the test split, text to image",
  marks_highest: bool = True,
  stages: Sequence[dict[str, Any]] = (),
  curves: Mapping[str, Sequence[Record]] | None = None,
  select_by: str = "t2i/R@1",
  ceilings: Mapping[str, float] | None = None,
  queries: Sequence[Any] = (),
  further: Sequence[sections.Section] = (),
  persons: Mapping[int, str] | None = None,
  notes: Sequence[str] = (),
) -> None:
  """Writes the report atomically.

  Args:
    path: HTML file.
    title: of the page.
    table: results by column; all have the same columns, and the first column is the row header.
    heading: of the table.
    marks_highest: whether the highest value of each metric is marked in it.
    stages: results of each finished stage by column, alike.
    curves: records of `metric_log.read_metrics` by stage; each stage has its own row of charts.
    select_by: the metric that selected the checkpoints, as in the config; its validation curve is always shown.
    ceilings: R@1 in percent that queries by the true attributes reach, by group of attributes.
    queries: `RankedQuery`s of `ranked_examples.rank_queries`.
    further: sections after the example queries.
    persons: annotated name of an identity, where it has one.
    notes: paragraphs below the title.
  """
  groups = {kind: [query for query in queries if query.kind == kind] for kind in _HEADINGS}
  images = [image for query in queries for image in (query.described, *query.images)]
  images += [image for section in further for image in section.images]
  scale = max((abs(drop) for query in queries for word in query.words for drop in word.drops), default=0.0)
  size = thumbnails.choose_size(images, MAX_IMAGE_BYTES)
  page.write_page(
    path,
    _TEMPLATE,
    title=title,
    notes=notes,
    heading=heading,
    table=sections.table(table, _highest(table) if marks_highest else None),
    stages=sections.table(stages),
    ceilings=[page.Bar(name, value, f"{value:.2f}") for name, value in (ceilings or {}).items()],
    curves=_curves(curves or {}, select_by),
    queries=[(_HEADINGS[kind], group) for kind, group in groups.items() if group],
    further=further,
    scale=scale,
    shade=functools.partial(_shade, scale=scale),
    largest=_largest_drops,
    picture=functools.partial(page.jpeg_uri, quality=size.quality, height=size.height),
    # A distractor may have no identity.
    person=lambda number: "none" if number < 0 else (persons or {}).get(number, str(number)),
  )


def _largest_drops(query, target):
  """Returns (text, drop) of the words that change the similarity to an image most when they are left out."""
  largest = sorted(query.words, key=lambda word: -abs(word.drops[target]))[:_NUM_WORDS]
  return [(word.text.strip(_PUNCTUATION) or word.text, word.drops[target]) for word in largest]


def _shade(drop, scale):
  """Returns the percentage of color behind a word; 0 for a word that hardly matters."""
  percent = round(_DARKEST * abs(drop) / scale) if scale else 0
  return percent if percent >= _LIGHTEST else 0


def _highest(rows):
  """Returns a function that marks the highest value of each metric."""
  names = [name for name in rows[0] if name in metrics.METRICS and all(isinstance(row[name], float) for row in rows)]
  highest = {name: max(row[name] for row in rows) for name in names}
  return lambda row, name: "highest" if name in highest and row[name] == highest[name] else ""


def _curves(curves: Mapping[str, Sequence[Record]], select_by: str) -> list[list[sections.Chart]]:
  """Returns the charts of each stage that has any; all validation charts have the same y range, for comparison."""
  validation = {name: _validation_series(records, select_by) for name, records in curves.items()}
  values = [value for series in validation.values() for line in series.values() for _, value in line]
  options = {"y_range": (0, max([*values, 1])), "unit": "%"}
  rows = []
  for name, records in curves.items():
    titles = [f"{name}: loss", f"{name}: validation, percent"]
    labels = [f"{title} over the step" for title in titles]
    charts = sections.line_charts(titles[0], _loss_series(records), label=labels[0])
    charts += sections.line_charts(titles[1], validation[name], label=labels[1], **options)
    if charts:
      rows.append(charts)
  return rows


def _series(records: Sequence[Record], names: Mapping[str, str]) -> svg_chart.Series:
  """Returns the series of the logged metrics in `names`, which maps each to its name in the legend."""
  series = {}
  for name, label in names.items():
    line = [(record["step"], record[name]) for record in records if name in record]
    if line:
      series[label] = line
  return series


def _loss_series(records: Sequence[Record]) -> svg_chart.Series:
  names = {name for record in records for name in record if name.startswith("loss/")}
  terms = sorted(names - {"loss/total"})
  # With a single term of weight 1 the total is that term.
  shown = ["loss/total", *terms[: svg_chart.MAX_SERIES - 1]] if len(terms) > 1 else ["loss/total"]
  return _series(records, {name: name.removeprefix("loss/") for name in shown})


def _validation_series(records: Sequence[Record], select_by: str) -> svg_chart.Series:
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
