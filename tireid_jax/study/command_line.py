"""The command line that runs a cell, or makes its data, on another machine."""

import pathlib
import runpy
import shlex
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import config_file
from tireid_jax.data.toy.domains import DOMAINS
from tireid_jax.study import toy_data
from tireid_jax.study.cells import Cell


def of_cell(cell: Cell, file: str) -> str:
  """Returns `python -m tireid_jax.main ...` of a cell.

  Args:
    cell: to be run.
    file: FILE[:ABLATION] of the study's --config.
  """
  arguments = [*_config_arguments(cell.config, file), f"--stage={cell.number}", f"--workdir={cell.folder}"]
  return shlex.join(["python", "-m", "tireid_jax.main", *arguments])


def of_data(cell: Cell, file: str) -> list[str]:
  """Returns the commands that generate and prepare the synthetic data of a cell's seed; [] for photographs."""
  if not toy_data.is_synthetic(cell.config):
    return []
  config = cell.config
  raw = pathlib.Path(config.data_dir).parent / toy_data.RAW_FOLDER
  name = toy_data.name_of(cell.config, cell.number)
  kept = ("toy.", "data.", "data_dir")
  given = [argument for argument in _config_arguments(config, file) if _field(argument).startswith(kept)]
  persons = [f"--persons={config.data.name}"] if config.data.name in DOMAINS else []
  generate = [f"--config={file}", *given, *persons, f"--to={raw}"]
  prepare = [f"--config={file}", *[one for one in given if _field(one) != "data.name"], f"--config.data.name={name}"]
  return [
    shlex.join(["python", "-m", "tireid_jax.data.toy", *generate]),
    shlex.join(["python", "-m", "tireid_jax.data.prepare", *prepare, f"--raw={raw}"]),
  ]


def _field(argument):
  return argument.partition("=")[0].removeprefix("--config.")


def _config_arguments(config, file):
  """Returns --config=FILE and the overrides that make it `config`."""
  path, _, ablation = config_file.find(file).partition(":")
  default = dict(_leaves(runpy.run_path(path)["get_config"](ablation)))
  changed = [(field, value) for field, value in _leaves(config) if default.get(field) != value]
  return [f"--config={file}", *(f"--config.{field}={_text(value)}" for field, value in changed)]


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from _leaves(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def _text(value):
  return value if isinstance(value, str) else repr(value).replace(" ", "")
