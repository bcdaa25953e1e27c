"""A line chart as an SVG file of its own, for documents that cannot hold one inline."""

import pathlib
from collections.abc import Sequence

from markupsafe import escape

from tireid_jax.reporting import svg_chart
from tireid_jax.reporting.svg_chart import HEIGHT, LEFT, RIGHT, WIDTH, Series
from tireid_jax.storage import files

# As in page.css, in light colors.
_COLORS = ("#2468c8", "#d0641d", "#7d4fc4", "#0e8a86")
_STYLE = (
  "text{font:11px system-ui,sans-serif;fill:#5c6572}.name{fill:#1c2026}.grid{stroke:#e1e5ea}polyline{fill:none}"
  "polyline,.key{stroke-width:2}.target,.hidden{fill:none}"
  + "".join(
    f".s{number} .key,.s{number} polyline{{stroke:{color}}}.s{number} .dot{{fill:{color}}}"
    for number, color in enumerate(_COLORS)
  )
)
_HEAD, _LINE, _KEY = 24, 16, 120  # pixels: height of the legend, of a line of text, and width of a legend's item


def write_line_chart(
  path: str | pathlib.Path, series: Series, *, label: str, x_name: str, x_label: str, unit: str, notes: Sequence[str]
) -> None:
  """Writes a line chart with a legend above it and lines of text below.

  Args:
    path: of the file.
    series, label, x_name, unit: as of `svg_chart.line_chart`.
    x_label: what `x_name` stands for.
    notes: text below the chart.
  """
  chart = svg_chart.line_chart(series, label=label, x_name=x_name, unit=unit)
  placed = str(chart).replace("<svg ", f'<svg y="{_HEAD}" width="{WIDTH}" height="{HEIGHT}" ', 1)
  keys = "".join(
    f'<g class="s{number}"><line class="key" x1="{LEFT + _KEY * number}" x2="{LEFT + 20 + _KEY * number}" y1="14" '
    f'y2="14"/><text class="name" x="{LEFT + 26 + _KEY * number}" y="18">{escape(name)}</text></g>'
    for number, name in enumerate(series)
  )
  lines = [f"{x_name}: {x_label}", *notes]
  text = "".join(
    f'<text x="{RIGHT}" y="{_HEAD + HEIGHT + _LINE * (number + 1)}">{escape(line)}</text>'
    for number, line in enumerate(lines)
  )
  height = _HEAD + HEIGHT + _LINE * len(lines) + 8
  files.write_text(
    path,
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    f"<title>{escape(label)}</title><style>{_STYLE}</style>"
    f'<rect width="100%" height="100%" fill="white"/>{keys}'
    f"{placed}{text}</svg>\n",
  )
