"""What a study consists of: the entries of all rows that are tuned, and the runs that tuning still needs."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from tireid_jax.study import entries as entries_lib
from tireid_jax.study import tuning
from tireid_jax.study.cells import Cell
from tireid_jax.study.entries import Entry
from tireid_jax.study.groups import Group


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """The state of a study.

  Attributes:
    entries: by group, of the rows that are tuned or need no tuning.
    grid: cells that tuning needs, by "ROW" or "ROW (GROUP)".
    choices: what tuning selected, likewise.
  """

  entries: dict[Group, list[Entry]]
  grid: dict[str, list[Cell]]
  choices: dict[str, dict[str, dict[str, Any]]]

  def all_entries(self) -> list[Entry]:
    """Returns the entries of all groups, seed by seed, so that an interrupted study has whole rows of some seeds."""
    found = [entry for group in self.entries.values() for entry in group]
    return sorted(found, key=lambda entry: entry.seed)  # stable


def make(
  groups: Sequence[Group],
  seeds: Sequence[int],
  workdir: pathlib.Path,
  results: pathlib.Path,
  *,
  assumes: bool = False,
) -> Plan:
  """Returns the plan of a study with what is finished so far. The first seed is also that of the grid.

  With `assumes`, rows are planned to the end, as if one of the longest runs of each unfinished grid had won.
  """
  plan = Plan({}, {}, {})
  for group in groups:
    plan.entries[group] = []
    for row in group.rows:
      name = f"{row.name} ({group.name})" if group.name and not group.tuned_on else row.name
      config = group.config(row)
      if row.derived != "zero_shot":
        tuned = tuning.tune(group.config_to_tune(row), seeds[0], workdir, results, assumes=assumes)
        if tuned.missing:
          plan.grid[name] = tuned.missing
          if not assumes:
            continue
        for number in config.stages:
          config[f"stage{number}"] = tuned.config[f"stage{number}"]
        if tuned.choices:
          plan.choices[name] = tuned.choices
      plan.entries[group] += [entries_lib.of_config(row, config, seed, workdir) for seed in seeds]
  return plan
