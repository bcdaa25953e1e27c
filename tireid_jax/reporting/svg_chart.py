"""Line charts as inline SVG, coloured by the page's style sheet.

No plotting library is used: they either need JavaScript or set colours themselves, which then do not follow the page's
dark color scheme.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 250
# Margins for the axis labels, in pixels.
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34
# A line of more points has no dots, and only this many of its points have a tooltip.
MAX_DOTS = 40
# The style sheet has this many line colors.
MAX_SERIES = 4

Series = Mapping[str, Sequence[tuple[float, float]]]  # name in the legend -> (x, value) of each point


def line_chart(
  series: Series,
  *,
  label: str,
  y_range: tuple[float, float] | None = None,
  unit: str = "",
  x_name: str = "step",
  x_range: tuple[float, float] | None = None,
  is_filled: bool = False,
) -> Markup:
  """Returns an <svg> of lines, by default over the training step.

  Args:
    series: (x, value) of each point by the name of the line; at most MAX_SERIES lines of at least one point.
    label: what the chart shows, for screen readers.
    y_range: (lowest, highest); by default that of the values.
    unit: appended to the values in tooltips.
    x_name: of the horizontal axis, at most four letters.
    x_range: (leftmost, rightmost); by default from 0 to the last x.
    is_filled: whether the area under each line is shaded, as in a histogram.
  """
  points = [point for line in series.values() for point in line]
  left, right = x_range or (0, max(1, *(x for x, _ in points)))
  x_ticks = [tick for tick in ticks(left, right, 6) if left <= tick <= right]
  low, high = y_range or _span([value for _, value in points])
  y_ticks = ticks(low, high, 5)
  low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])

  def x(position: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (position - left) / (right - left)

  def y(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

  parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
  for tick in y_ticks:
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
    parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
  for tick in x_ticks:
    anchor = "end" if x(tick) > WIDTH - RIGHT - 12 else "middle"
    parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{tick:,g}</text>')
  parts.append(f'<text class="tick" x="{LEFT - 14}" y="{HEIGHT - 14}" text-anchor="end">{escape(x_name)}</text>')
  # The first line is drawn last, on top of the others.
  for number, (name, line) in reversed([*enumerate(series.items())]):
    if is_filled:
      corners = [(line[0][0], low), *line, (line[-1][0], low)]
      path = " ".join(f"{x(position):.1f},{y(value):.1f}" for position, value in corners)
      parts.append(f'<g class="s{number}"><polygon class="area" points="{path}"/></g>')
    parts.append(
      _line(name, [(x(position), y(value), position, value) for position, value in line], number, unit, x_name)
    )
  return Markup("".join([*parts, "</svg>"]))


def legend(names: Iterable[str]) -> Markup:
  """Returns the legend of a chart of lines with these names, in the order of `line_chart`'s series."""
  items = "".join(f'<li><span class="key s{i}"></span>{escape(name)}</li>' for i, name in enumerate(names))
  return Markup(f'<ul class="legend">{items}</ul>')


def _line(name: str, points: Sequence[tuple[float, float, float, float]], number: int, unit: str, x_name: str) -> str:
  """Returns line `number` of a chart; each point is (x, y) in the drawing and (position, value) on the axes."""
  path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
  has_dots = len(points) <= MAX_DOTS
  # Each tooltip is an element of the page, so their number is limited.
  shown = points[:: math.ceil(len(points) / MAX_DOTS)]
  dots = "".join(
    f'<g class="point"><circle class="dot{"" if has_dots else " hidden"}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    f'<circle class="target" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
    f"<title>{escape(name)} {value:.4g}{unit} at {escape(x_name)} {position:,}</title></g>"
    for x, y, position, value in shown
  )
  return f'<g class="line s{number}"><polyline points="{path}"/>{dots}</g>'


def _span(values: Sequence[float]) -> tuple[float, float]:
  low, high = min(values), max(values)
  return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float, num: int) -> list[float]:
  """Returns about `num` evenly spaced round numbers that cover low..high, at most one step beyond either end."""
  raw = (high - low) / num or 1.0
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  # Without rounding, 3 * 0.1 would be printed as 0.30000000000000004.
  return [round(number * step, 12) for number in range(first, last + 1)]
