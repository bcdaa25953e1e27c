"""Sections of the run report that any analysis can fill: headings with charts, bars, tables and pictures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from tireid_jax.reporting import page, svg_chart


@dataclasses.dataclass(frozen=True, eq=False)
class Chart:
  """A drawing with its title and legend."""

  title: str
  legend: Markup
  drawing: Markup


@dataclasses.dataclass(frozen=True, eq=False)
class Charts:
  """Charts next to each other."""

  kind: ClassVar[str] = "charts"
  charts: Sequence[Chart]


@dataclasses.dataclass(frozen=True, eq=False)
class Bars:
  """Horizontal bars under a heading."""

  kind: ClassVar[str] = "bars"
  heading: str
  bars: Sequence[page.Bar]


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """A table under a heading, with a line of explanation."""

  kind: ClassVar[str] = "rows"
  heading: str
  table: Sequence[dict[str, page.Cell]]
  hint: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
  """Two groups of pictures, u8[h, w, 3] each, with their captions, and lines of text about both."""

  kind: ClassVar[str] = "pair"
  heading: str
  lines: Sequence[str]
  groups: Sequence[tuple[str, Sequence[np.ndarray]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
  """A heading, a line of explanation, and what it shows; without parts, the line says why there is nothing to show."""

  heading: str
  hint: str
  parts: Sequence[Any] = ()

  @property
  def images(self) -> list[np.ndarray]:
    """All pictures of the section."""
    return [image for part in self.parts if part.kind == "pair" for _, group in part.groups for image in group]


def line_charts(title: str, lines: svg_chart.Series, *, label: str, **options: Any) -> list[Chart]:
  """Returns charts of at most `svg_chart.MAX_SERIES` lines each; none if there are no lines.

  Args:
    title: of each chart.
    lines: points by the name in the legend.
    label: what the charts show, for screen readers.
    **options: of `svg_chart.line_chart`.
  """
  names = list(lines)
  charts = []
  for start in range(0, len(names), svg_chart.MAX_SERIES):
    shown = {name: lines[name] for name in names[start : start + svg_chart.MAX_SERIES]}
    charts.append(Chart(title, svg_chart.legend(shown), svg_chart.line_chart(shown, label=label, **options)))
  return charts


def table(
  rows: Sequence[Mapping[str, Any]], mark: Callable[[Mapping[str, Any], str], str] | None = None
) -> list[dict[str, page.Cell]]:
  """Returns the cells of a table: floats with two decimals, whole numbers with thousands separators.

  Args:
    rows: values by column, the same columns in all.
    mark: function of a row and a column that returns the CSS class of a cell, "" for none.
  """
  return [
    {name: page.Cell(text_of(value), mark(row, name) if mark else "") for name, value in row.items()} for row in rows
  ]


def text_of(value: Any) -> str:
  """Returns a value as a table shows it."""
  if isinstance(value, float):
    return f"{value:.2f}"
  return f"{value:,}" if isinstance(value, int) else str(value)
