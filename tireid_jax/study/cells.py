"""A cell: one stage of one config with one seed. Rows of a table that have a stage in common share its cell."""

import copy
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from tireid_jax import fields
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.study import toy_data
from tireid_jax.workdir import layout

DIGEST_LENGTH = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
  """One stage of a config with one seed.

  Attributes:
    number: of the stage.
    config: with the seed, and with the paths of the data and of what the stage starts from.
    digest: of all that decides the result, but the seed.
    folder: workdir of the stage.
    parent: the cell that the stage starts from, None if it starts from published or random weights.
  """

  number: int
  config: ConfigDict
  digest: str
  folder: pathlib.Path
  parent: "Cell | None"

  @property
  def seed(self) -> int:
    return self.config.seed

  @property
  def stage_folder(self) -> pathlib.Path:
    """Folder of the stage's checkpoints and result."""
    return pathlib.Path(layout.stage_folder(self.folder, self.number))

  def lineage(self) -> "Iterator[Cell]":
    """Yields the cells that have to be finished before this one, and then this one."""
    if self.parent is not None:
      yield from self.parent.lineage()
    yield self

  def result(self) -> dict[str, Any] | None:
    """Returns the stage's result, None until it is finished."""
    return layout.read_result(self.folder, self.number)


def chain(config: ConfigDict, seed: int, workdir: pathlib.Path) -> list[Cell]:
  """Returns the cells of the stages that a config runs, ascending; the last one has the config's result.

  Each starts from the cell of the stage that its `init_from` or `pretrained` names, which other configs may share.

  Args:
    config: a row of a table, without a seed of its own.
    seed: of the run, and of the synthetic data.
    workdir: of the study.
  """
  cells: dict[str, Cell] = {}
  for number in config_lib.stage_numbers(config, "all"):
    cells[f"stage{number}"] = _cell(config, number, seed, workdir, cells)
  return list(cells.values())


def _cell(config, number, seed, workdir, earlier):
  config = toy_data.without_unused_sizes(_without_unused_prompts(copy.deepcopy(config), number), number)
  stage = config[f"stage{number}"]
  named = config.pretrained if stage.init_from == "pretrained" else stage.init_from
  parent = earlier.get(named)
  if parent is None and named in ("stage0", "stage1", "stage2"):
    raise UserError(
      f"stage {number} starts from {named}, which this config does not run; its `stages` are {tuple(config.stages)}"
    )
  digest = digest_of(config, number, f"cell {parent.digest}" if parent else _published(named, config))
  if parent is not None and stage.init_from != "pretrained":
    stage.init_from = str(parent.stage_folder)
  if config.pretrained in earlier:  # also where only the scoring of the entry reads it
    config.pretrained = str(earlier[config.pretrained].stage_folder)
  config.seed = seed
  if toy_data.is_synthetic(config):
    config = toy_data.with_data_of_seed(config, seed, workdir)
  return Cell(number, config, digest, workdir / "cells" / digest / f"seed{seed}", parent)


def _published(named, config):
  """Returns what stands for weights that are not of this study; of a file with several CLIPs, for one of them."""
  return f"{named} {config.pretrained_prefix}" if config.pretrained_prefix else named


def _without_unused_prompts(config, number):
  """Returns the config with no prompts at all if the stage has none, so that such stages of all rows are one cell."""
  stage, prompts = config[f"stage{number}"], config.prompts
  if not stage.use_prompts or not (prompts.image_length or prompts.text_length):
    stage.use_prompts = False
    config.prompts.update(fields.defaults(PromptSpec))
  return config


def digest_of(config: ConfigDict, number: int, origin: str) -> str:
  """Returns 12 hexadecimal digits of what decides the result of a stage, but the seed.

  The seed, the name of the row, folders of data, logging, the mesh, and what changes only speed and memory are left
  out.

  Args:
    config: without paths of the study.
    number: of the stage.
    origin: what the stage starts from.
  """
  data = config_lib.to_json(config)
  for field in config_lib.FREE_FIELDS:
    section, _, name = field.partition("/")
    data.get(section, {}).pop(name, None)
  kept = {name: data[name] for name in config_lib.SHARED_FIELDS if name in data and name != "seed"}
  kept |= {"toy": toy_data.settings_of(config, toy_data.name_of(config, number)), "stage": data[f"stage{number}"]}
  kept["stage"].pop("init_from")
  return digest_of_data({"number": number, "origin": origin, **kept})


def digest_of_weights(cell: Cell) -> str:
  """Returns the digest of what decides the result of the weights that a cell starts from, without any training."""
  data = config_lib.to_json(cell.config)
  model = {name: value for name, value in data["model"].items() if f"model/{name}" not in config_lib.FREE_FIELDS}
  origin = cell.parent.digest if cell.parent else _published(data["pretrained"], cell.config)
  dataset = {name: value for name, value in data["data"].items() if f"data/{name}" not in config_lib.FREE_FIELDS}
  toy = toy_data.settings_of(cell.config, toy_data.name_of(cell.config, cell.number))
  if toy:
    toy["seed"] -= cell.seed
  return digest_of_data({"zero_shot": origin, "model": model, "data": dataset, "toy": toy})


def digest_of_data(data: Any) -> str:
  """Returns 12 hexadecimal digits of the SHA-256 of JSON data, whatever the order of its fields."""
  return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]
