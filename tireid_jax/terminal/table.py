"""Plain-text tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def mean_and_std(values: Sequence[float]) -> float | str:
  """Returns a table cell: "mean ± sample standard deviation" of several runs, or the value of a single run."""
  return float(values[0]) if len(values) == 1 else f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def format_table(rows: Sequence[dict[str, Any]]) -> str:
  """Returns a header line and a line for each row, with aligned columns.

  Args:
    rows: {column: value}, all with the same columns; floats are shown with two decimals.
  """
  columns = list(rows[0])
  cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
  is_number = [all(isinstance(row[column], int | float) for row in rows) for column in columns]
  widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if right else cell.ljust(width)
      for cell, width, right in zip(line, widths, is_number, strict=True)
    ).rstrip()
    for line in cells
  )


def _cell(value):
  if isinstance(value, float):
    return f"{value:.2f}"
  return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
