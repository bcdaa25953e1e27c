"""Which rows each table has. A row is an entry of ABLATIONS in configs/common.py, or a result derived from one."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from tireid_jax.configs import common
from tireid_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table.

  Attributes:
    name: shown in the table.
    ablation: of ABLATIONS, "" for the config as it is.
    derived: "" for the result of the last stage; "zero_shot" for the weights that the row starts from.
  """

  name: str
  ablation: str = ""
  derived: str = ""

  def config(self, base: ConfigDict) -> ConfigDict:
    """Returns the config of the row, from that of the study."""
    return common.with_ablation(base.copy_and_resolve_references(), self.ablation)


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of experiments.

  Attributes:
    title: of the written table.
    rows: in order. The first one is the row that the others are compared with.
    x: the quantity that the table varies and its value in a row's config, for a figure; None if it has no figure.
  """

  title: str
  rows: tuple[Row, ...]
  x: tuple[str, Callable[[ConfigDict], int]] | None = None


TWO_STAGES = Row("two stages")
ZERO_SHOT = Row("zero-shot", "no_prompts", derived="zero_shot")
DIRECT = Row("direct fine-tuning", "no_prompts")
DIRECT_LONG = Row("direct fine-tuning, steps of both stages", "no_prompts_long")
AFTER_STAGE_1 = Row("after stage 1", "prompts_only")

TABLES = {
  "main": Table(
    "Two stages and direct fine-tuning",
    (TWO_STAGES, DIRECT_LONG, DIRECT, AFTER_STAGE_1, ZERO_SHOT),
  ),
}


def find(name: str) -> Table:
  """Returns a table by name; raises UserError with the closest name for an unknown one."""
  if name not in TABLES:
    raise UserError(f"--table={name}: there is no such table{did_you_mean(name, TABLES)}; all: {', '.join(TABLES)}")
  return TABLES[name]
