"""An entry: a row of a table with one seed, the cells that it needs, and the key of its stored result."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.study import cells, toy_data
from tireid_jax.study.cells import Cell
from tireid_jax.study.tables import Row


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
  """A row of a table with one seed.

  Attributes:
    row: of the table.
    seed: of the run.
    cell: the last stage of the row's config; for zero-shot results, the stage that would start from those weights.
    digest: of all that decides the result, but the seed and how it is scored.
  """

  row: Row
  seed: int
  cell: Cell
  digest: str

  def needed(self) -> list[Cell]:
    """Returns the cells to be finished, in order, before the entry can be scored."""
    if self.row.derived == "zero_shot":
      return list(self.cell.parent.lineage()) if self.cell.parent else []
    return list(self.cell.lineage())


def make(row: Row, base: ConfigDict, seed: int, workdir: pathlib.Path) -> Entry:
  """Returns the entry of a row with a seed; `base` is the study's config."""
  return of_config(row, row.config(base), seed, workdir)


def of_config(row: Row, config: ConfigDict, seed: int, workdir: pathlib.Path) -> Entry:
  """Returns the entry of a row with a seed; `config` is that of the row, tuned if it has to be."""
  cell = cells.chain(config, seed, workdir)[-1]
  if row.derived == "zero_shot":
    return Entry(row, seed, cell, cells.digest_of_weights(cell))
  derivation: dict[str, Any] = {"derived": row.derived, "of": cell.digest, "tested_on": row.test_dataset}
  if row.test_dataset:
    derivation["toy"] = toy_data.settings_of(config, row.test_dataset)
  return Entry(row, seed, cell, cells.digest_of_data(derivation) if row.derived else cell.digest)
