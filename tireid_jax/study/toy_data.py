"""Synthetic data of a study: each seed has persons of its own, drawn and prepared in the study's workdir."""

import copy
import pathlib
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import values as config_lib
from tireid_jax.data.datasets import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.data.toy import write

RAW_FOLDER, PREPARED_FOLDER = "raw", "prepared"


def _write_pedes(raw, sizes):
  counts = {f"num_{split}_ids": sizes[f"num_{split}_ids"] for split in ("train", "val", "test")}
  write.write_pedes(raw, seed=sizes.seed, images_per_id=sizes.images_per_id, **counts)


def _write_generic(raw, sizes):
  write.write_generic(
    raw, seed=sizes.seed, num_train_images=sizes.generic_train_images, num_eval_images=sizes.generic_eval_images
  )


# Name of a synthetic data set -> (raw folder, config.toy) -> None, which draws it. A data set that is added here, with
# its layout in data/datasets/, can be listed in `study.domains` and `study.held_out`.
WRITERS: dict[str, Callable[[pathlib.Path, Any], Any]] = {
  toy.PEDES.name: _write_pedes,
  toy.GENERIC.name: _write_generic,
}


def is_synthetic(config: ConfigDict) -> bool:
  """Returns whether the data set of a config is drawn by this package."""
  return "toy" in config and config.data.name in WRITERS


def name_of(config: ConfigDict, number: int) -> str:
  """Returns the name of the data set of a stage."""
  return config[f"stage{number}"].data or config.data.name


def settings_of(config: ConfigDict, number: int) -> dict[str, Any]:
  """Returns the fields of `config.toy` that decide the data of a stage; {} for photographs."""
  if not is_synthetic(config):
    return {}
  settings = config_lib.to_json(config)["toy"]
  is_generic = name_of(config, number) == toy.GENERIC.name
  return {
    field: value for field, value in settings.items() if field == "seed" or field.startswith("generic_") == is_generic
  }


def without_unused_sizes(config: ConfigDict, number: int) -> ConfigDict:
  """Returns the config with 1 for sizes of data that the stage does not use, if it has a data set of its own.

  So such stages of all rows are one cell with one config, whatever numbers of persons the rows have.
  """
  if is_synthetic(config) and name_of(config, number) != config.data.name:
    used = settings_of(config, number)
    config.toy.update({field: 1 for field in config.toy if field not in used})
  return config


def with_study_sizes(config: ConfigDict) -> ConfigDict:
  """Returns a config whose synthetic validation and test splits have the sizes of its `study`."""
  config = config.copy_and_resolve_references()
  if is_synthetic(config):
    config.toy.num_val_ids = config.study.val_ids or config.toy.num_val_ids
    config.toy.num_test_ids = config.study.test_ids or config.toy.num_test_ids
  return config


def with_data_of_seed(config: ConfigDict, seed: int, workdir: pathlib.Path) -> ConfigDict:
  """Returns a copy of a config whose synthetic data are those of a seed: `toy.seed` is that many higher."""
  config = copy.deepcopy(config)
  config.toy.seed += seed
  sizes = "-".join(str(value) for value in config_lib.to_json(config)["toy"].values())
  config.data_dir = str(workdir / "data" / sizes / PREPARED_FOLDER)
  return config


def make(config: ConfigDict, name: str) -> None:
  """Draws and prepares a synthetic data set of a cell's config, unless it is there."""
  prepared = pathlib.Path(config.data_dir)
  if (splits.prepared_path(prepared, name, config.data.image_size) / splits.INFO_FILE).is_file():
    return
  raw = prepared.parent / RAW_FOLDER
  WRITERS[name](raw, config.toy)
  prepare(name, raw, prepared, config.data.image_size, tokenizer=config.data.tokenizer)
