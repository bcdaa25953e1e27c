"""Line charts as inline SVG, coloured by the page's style sheet.

Written by hand, and not by a plotting library: those either need JavaScript, or paint with colours of their own, which
do not follow the page's style sheet into the dark scheme; and a page with values under the pointer takes 80 lines.
"""

import math

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 250
# Room for the axes' labels: left, right, top, bottom.
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34
# Above this many points a line has no dots and only some of its points show their value under the pointer.
MAX_DOTS = 40


def line_chart(series, *, label, y_range=None, unit=""):
  """Returns an <svg> of lines over the step.

  Args:
    series: {name: [(step, value), ...]}, at least one point each; at most 4, the colours that the style sheet has.
    label: what the chart shows, for those who cannot see it.
    y_range: (low, high); by default what the values span.
    unit: written behind values.
  """
  points = [point for line in series.values() for point in line]
  last = max(1, *(step for step, _ in points))
  x_ticks = [tick for tick in ticks(0, last, 6) if tick <= last]
  low, high = y_range or _span([value for _, value in points])
  y_ticks = ticks(low, high, 5)
  low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])

  def x(step):
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last

  def y(value):
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

  parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
  for tick in y_ticks:
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
    parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
  for tick in x_ticks:
    anchor = "end" if x(tick) > WIDTH - RIGHT - 12 else "middle"
    parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{tick:,g}</text>')
  parts.append(f'<text class="tick" x="{LEFT - 14}" y="{HEIGHT - 14}" text-anchor="end">step</text>')
  # The first series is drawn last, on top.
  for number, (name, line) in reversed([*enumerate(series.items())]):
    parts.append(_line(name, [(x(s), y(v), s, v) for s, v in line], number, unit))
  return Markup("".join([*parts, "</svg>"]))


def legend(names):
  """Returns the names with their colours, for charts of the same series."""
  items = "".join(f'<li><span class="key s{i}"></span>{escape(name)}</li>' for i, name in enumerate(names))
  return Markup(f'<ul class="legend">{items}</ul>')


def _line(name, points, number, unit):
  path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
  has_dots = len(points) <= MAX_DOTS
  # Under the pointer, so many points at most show their values: each is an element of the page.
  shown = points[:: math.ceil(len(points) / MAX_DOTS)]
  dots = "".join(
    f'<g class="point"><circle class="dot{"" if has_dots else " hidden"}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    f'<circle class="target" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
    f"<title>{escape(name)} {value:.4g}{unit} at step {step:,}</title></g>"
    for x, y, step, value in shown
  )
  return f'<g class="line s{number}"><polyline points="{path}"/>{dots}</g>'


def _span(values):
  low, high = min(values), max(values)
  return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low, high, num):
  """Returns about `num` round numbers, evenly apart, that lie within low..high or one step outside."""
  raw = (high - low) / num or 1.0
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  # Rounded, or 3 * 0.1 would be written 0.30000000000000004.
  return [round(number * step, 12) for number in range(first, last + 1)]
