"""A table may be repeated for several training data: on synthetic persons, for each domain and number of persons."""

import dataclasses

from ml_collections import ConfigDict

from tireid_jax.study import tables, toy_data, transfer
from tireid_jax.study.tables import Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
  """Rows that are compared with each other.

  Attributes:
    name: heading in the written table, "" if there is only one group.
    rows: the first one is the reference.
    configs: config of the study by the data set that a row is trained on; "" for the config's own.
    domain, num_persons: what the rows are trained on, for the figure; 0 persons if they are not varied.
    tuned_on: (domain, number of persons) of the runs that tune its rows; None for its own.
  """

  name: str
  rows: tuple[Row, ...]
  configs: dict[str, ConfigDict]
  domain: str = ""
  num_persons: int = 0
  tuned_on: tuple[str, int] | None = None

  def config(self, row: Row) -> ConfigDict:
    """Returns the config of a row, before tuning."""
    return row.config(self.configs[row.dataset])

  def config_to_tune(self, row: Row) -> ConfigDict:
    """Returns the config whose learning rates and lengths the row takes over once they are tuned."""
    config = self.config(row)
    if self.tuned_on:
      config.data.name, config.toy.num_train_ids = self.tuned_on
    if row.own_rate:
      config.study.learning_rates = ()
    return config


def _rows(table, config):
  """Returns a table's rows; if validation selects their lengths, without numbers of steps in their names."""
  if not config.study.epochs:
    return table.rows
  renamed: dict[str, Row] = {}
  for row in table.rows:
    name = row.name
    for steps in tables.STEPS:
      name = name.replace(steps, "")
    renamed.setdefault(name, dataclasses.replace(row, name=name))
  return tuple(renamed.values())


def of_table(name: str, config: ConfigDict) -> tuple[Table, list[Group]]:
  """Returns a table and its groups.

  Args:
    name: of the table.
    config: of the study.

  Raises:
    UserError: there is no such table, or it does not have the config's data set.
  """
  config = toy_data.with_study_sizes(config)
  if config.pretrained == "stage0" and config.study.held_out:
    config.study.held_out = config.stage0.data
  if name == tables.TRANSFER:
    configs = transfer.configs_of(config)
    table = transfer.table(list(configs))
    return table, [Group("", table.rows, configs)]
  table = tables.find(name)
  table = dataclasses.replace(table, rows=_rows(table, config))
  if name != "main" or not (config.study.train_ids and toy_data.is_synthetic(config)):
    return table, [Group("", table.rows, {"": config})]
  groups = []
  domains = config.study.domains or (config.data.name,)
  tuned_on = (domains[0], config.study.tune_ids) if config.study.tune_ids else None
  for domain in domains:
    for num_persons in config.study.train_ids:
      varied = config.copy_and_resolve_references()
      varied.data.name, varied.toy.num_train_ids = domain, num_persons
      rows = tuple(row for row in table.rows if row.ablation != tables.DIRECT.ablation or row.derived)
      groups.append(
        Group(f"{domain}, {num_persons:,} training persons", rows, {"": varied}, domain, num_persons, tuned_on)
      )
  return table, groups
