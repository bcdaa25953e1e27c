"""The table of transfer: each data set's model tested on each data set."""

import runpy
from collections.abc import Sequence

from ml_collections import ConfigDict

from tireid_jax.config import config_file
from tireid_jax.data.datasets import registry
from tireid_jax.errors import UserError
from tireid_jax.study import toy_data
from tireid_jax.study.results import RowResult
from tireid_jax.study.tables import TRANSFER, Row, Table

# Configs of the paper's data sets; the synthetic ones are described by one config.
CONFIGS = ("cuhk", "icfg", "rstp")
_METRICS = ("R@1", "mAP")


def configs_of(base: ConfigDict) -> dict[str, ConfigDict]:
  """Returns {data set: config to train on it}, with everything else as in the study's config.

  A data set without a validation split uses the study's `data.val_identities`, or reports its last checkpoint.

  Raises:
    UserError: the study's data set is none of the table.
  """
  if toy_data.is_synthetic(base):
    return {name: _on(base, name, base.select_on, base.data.val_identities) for name in toy_data.NAMES}
  files = [config_file.package_configs()[name] for name in CONFIGS]
  defaults = [runpy.run_path(str(file))["get_config"]("") for file in files]
  usual = {default.data.name: default.select_on for default in defaults}
  if base.data.name not in usual:
    raise UserError(f"--table={TRANSFER} has the data sets {', '.join(usual)}, but --config names {base.data.name}")
  configs = {}
  for name, select_on in usual.items():
    held_out = base.data.val_identities if select_on == "last" else 0
    select_on = "val" if held_out else select_on
    if base.select_on not in ("val", usual[base.data.name]):  # chosen for all
      select_on = base.select_on
    configs[name] = _on(base, name, select_on, held_out)
  return configs


def _on(base, name, select_on, val_identities):
  config = base.copy_and_resolve_references()
  config.data.name, config.data.val_identities, config.select_on = name, val_identities, select_on
  return config


def table(names: Sequence[str]) -> Table:
  """Returns the table of all pairs of data sets, with a warning for those that share their images' source."""
  rows = [
    Row(f"{trained} → {tested}", derived="" if tested == trained else TRANSFER, dataset=trained, test_dataset=tested)
    for trained in names
    for tested in names
  ]
  notes = []
  for number, first in enumerate(names):
    for second in names[number + 1 :]:
      if second in registry.same_source(first):
        folders = " and ".join(sorted(registry.layout_of(name).folder for name in (first, second)))
        source = registry.layout_of(first).source
        notes.append(f"Warning: {folders} take their images from the same source ({source}): no test across domains.")
  return Table("Transfer between data sets", tuple(rows), notes=tuple(notes), compares=False)


def matrix(found: Sequence[RowResult]) -> list[str]:
  """Returns the lines of a Markdown table: trained on (rows), tested on (columns), R@1 / mAP."""
  tested = list(dict.fromkeys(result.row.test_dataset for result in found))
  trained = list(dict.fromkeys(result.row.dataset for result in found))
  by_pair = {(result.row.dataset, result.row.test_dataset): result for result in found}
  lines = [f"| trained on \\ tested on | {' | '.join(tested)} |", f"|---|{'---:|' * len(tested)}"]
  for name in trained:
    cells = [
      " / ".join(by_pair[name, other].cell(metric) or "missing" for metric in _METRICS)
      if (name, other) in by_pair
      else ""
      for other in tested
    ]
    lines.append(f"| {name} | {' | '.join(cells)} |")
  return lines
