"""Plain-text tables."""


def format_table(rows):
  """Returns aligned lines of text: a header and a line for each row.

  Args:
    rows: list of {column: value}, all with the same columns; floats are shown with two decimals.
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
