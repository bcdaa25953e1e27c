"""The figure of a table: R@1 and mAP over what its rows vary, or R@1 of each row over the number of persons."""

import pathlib
from collections.abc import Mapping, Sequence

from tireid_jax.reporting import svg_chart, svg_file
from tireid_jax.study import results as results_lib
from tireid_jax.study.groups import Group
from tireid_jax.study.results import RowResult
from tireid_jax.study.tables import Table

Series = dict[str, list[tuple[float, float]]]


def points(table: Table, found: Mapping[Group, Sequence[RowResult]]) -> Series:
  """Returns {line: [(x, mean over the seeds)]} of the finished rows, by x; {} for a table without a figure.

  Of several domains, the figure has the first.
  """
  lines: dict[str, dict[float, float]] = {}
  groups = list(found)
  for group in groups:
    if group.num_persons and group.domain == groups[0].domain:
      for result in found[group][: svg_chart.MAX_SERIES]:
        if (mean := result.mean("R@1")) is not None:
          lines.setdefault(result.row.name, {})[group.num_persons] = mean
    elif table.figure and not group.num_persons:
      for result in found[group]:
        x = table.figure.x_of(group.config(result.row))
        for metric in results_lib.TESTED:
          if (mean := result.mean(metric)) is not None:
            lines.setdefault(metric, {}).setdefault(x, mean)
  return {name: sorted(line.items()) for name, line in lines.items()}


def write(path: pathlib.Path, table: Table, series: Series, notes: Sequence[str]) -> None:
  """Writes the figure as an SVG file with notes below it."""
  name, label = ("IDs", "training persons") if table.figure is None else (table.figure.x_name, table.figure.x_label)
  metrics = "R@1" if table.figure is None else " and ".join(series)
  svg_file.write_line_chart(
    path, series, label=f"{table.title}: {metrics}, text to image, percent", x_name=name, x_label=label, unit="%",
    notes=notes,
  )  # fmt: skip
