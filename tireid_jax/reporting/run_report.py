"""One HTML file that shows a run and loads nothing from elsewhere: table, curves, what single captions found."""

import base64
import html
import io
import pathlib
import re

from PIL import Image

from tireid_jax.reporting import svg_chart
from tireid_jax.storage import files

_STYLE = pathlib.Path(__file__).with_name("page.css")
# Columns of percentages, in which the highest figure stands out.
_FIGURES = ("R@1", "R@5", "R@10", "mAP", "mINP")
# Of these the validation chart shows: the first for what selects, the others for what lies behind it.
_VALIDATED = ("R@1", "R@10", "mAP")
_JPEG_QUALITY = 90
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
  text = "".join(f"<p>{_escape(note)}</p>" for note in notes)
  body = [f'<header><h1>{_escape(title)}</h1><div class="notes">{text}</div></header>']
  body.append(_section("Results on the test split, text to image", _table(table)))
  if ceilings:
    hint = '<p class="hint">R@1 on the test split of a query by true attributes alone, without any model.</p>'
    body.append(_section("What the attributes alone would find", _bars(ceilings), hint))
  charts = _curves(curves or {})
  if charts:
    body.append(f"<section><h2>Curves</h2>{charts}</section>")
  if queries:
    body.append(_queries(queries))
  page = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{_escape(title)}</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n<body>\n"
    + "\n".join(body)
    + "\n</body>\n</html>\n"
  )
  files.write_text(path, page)


def _escape(text):
  return html.escape(str(text))


def _section(heading, content, hint=""):
  return f'<section><h2>{_escape(heading)}</h2>{hint}<div class="card scroll">{content}</div></section>'


def _table(rows):
  """Returns a table: the first column names the row, the others stand right, the highest of each figure is bold."""
  columns = list(rows[0])
  figures = [name for name in columns if name in _FIGURES and all(isinstance(row[name], float) for row in rows)]
  highest = {name: max(row[name] for row in rows) for name in figures}

  def cell(row, name):
    mark = ' class="highest"' if name in highest and row[name] == highest[name] else ""
    return f"<td{mark}>{_escape(_shown(row[name]))}</td>"

  def line(row):
    name = f'<th scope="row">{_escape(_shown(row[columns[0]]))}</th>'
    return f"<tr>{name}{''.join(cell(row, column) for column in columns[1:])}</tr>"

  head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in columns)
  return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(line, rows))}</tbody></table>"


def _shown(value):
  if isinstance(value, float):
    return f"{value:.2f}"
  return f"{value:,}" if isinstance(value, int) else str(value)


def _bars(percentages):
  lines = "".join(
    f'<span>{_escape(name)}</span><span class="track"><span class="fill" style="width:{value:.2f}%"></span></span>'
    f'<span class="value">{value:.2f}</span>'
    for name, value in percentages.items()
  )
  return f'<div class="bars">{lines}</div>'


def _curves(curves):
  """Returns a row of two charts for each stage; the validation charts share an axis, so that stages compare."""
  validated = {name: _validation_series(records) for name, records in curves.items()}
  values = [value for series in validated.values() for line in series.values() for _, value in line]
  rows = []
  for name, records in curves.items():
    cards = [
      _chart_card(f"{name}: loss", _loss_series(records)),
      _chart_card(f"{name}: validation, percent", validated[name], y_range=(0, max([*values, 1])), unit="%"),
    ]
    if any(cards):
      rows.append(f'<div class="charts">{"".join(cards)}</div>')
  return "".join(rows)


def _chart_card(title, series, **options):
  if not series:
    return ""
  drawing = svg_chart.line_chart(series, label=f"{title} over the step", **options)
  return f'<div class="card"><h3>{_escape(title)}</h3>{svg_chart.legend(series)}{drawing}</div>'


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


def _queries(queries):
  parts = [
    "<section><h2>What single captions find</h2>"
    '<p class="hint">Left of the line: the image that the caption was written for. Right of it: the best of the '
    'gallery, <span class="right"><span class="mark">✓ framed green</span></span> where it shows the person described, '
    '<span class="wrong"><span class="mark">✗ framed red</span></span> where it does not, with cosine similarity and '
    "identity.</p>"
  ]
  for kind, heading in _HEADINGS.items():
    ours = [query for query in queries if query.kind == kind]
    if ours:
      parts.append(f'<h3 class="kind">{heading}</h3>{"".join(map(_query, ours))}')
  return "".join([*parts, "</section>"])


def _query(query):
  hits = "".join(_hit(rank, hit) for rank, hit in enumerate(query.hits, start=1))
  described = (
    f'<figure class="described"><img src="{_data_uri(query.described)}" alt="the image that was described">'
    f"<figcaption><b>described</b><br>id {query.person_id}</figcaption></figure>"
  )
  return (
    f'<article class="card query"><blockquote>“{_escape(query.caption)}”</blockquote>'
    f'<p class="hint">Identity {query.person_id}; first right image at rank {query.first_rank:,}; average precision '
    f'{100 * query.average_precision:.1f}%</p><div class="row">{described}{hits}</div></article>'
  )


def _hit(rank, hit):
  verdict, mark = ("right", "✓") if hit.is_correct else ("wrong", "✗")
  person = "none" if hit.person_id < 0 else hit.person_id  # a distractor may have none
  alt = f"rank {rank}, {verdict}: identity {person}, similarity {hit.score:.3f}"
  return (
    f'<figure class="{verdict}"><img src="{_data_uri(hit.image)}" alt="{alt}">'
    f'<figcaption><b>{rank}</b> <span class="mark">{mark}</span> {hit.score:.3f}<br>id {person}</figcaption>'
    f"</figure>"
  )


def _data_uri(image):
  stream = io.BytesIO()
  Image.fromarray(image).save(stream, "JPEG", quality=_JPEG_QUALITY)
  return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
