"""Synthetic data of a study: each seed has persons of its own, drawn and prepared in the study's workdir."""

import copy
import pathlib
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import values as config_lib
from tireid_jax.data.datasets import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.data.toy import write

RAW_FOLDER, PREPARED_FOLDER = "raw", "prepared"


def is_synthetic(config: ConfigDict) -> bool:
  """Returns whether the data set of a config is drawn by this package."""
  return "toy" in config and config.data.name in {layout.name for layout in toy.LAYOUTS}


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
  raw, sizes = prepared.parent / RAW_FOLDER, config.toy
  if name == toy.PEDES.name:
    counts = {f"num_{split}_ids": sizes[f"num_{split}_ids"] for split in ("train", "val", "test")}
    write.write_pedes(raw, seed=sizes.seed, images_per_id=sizes.images_per_id, **counts)
  else:
    write.write_generic(
      raw, seed=sizes.seed, num_train_images=sizes.generic_train_images, num_eval_images=sizes.generic_eval_images
    )
  prepare(name, raw, prepared, config.data.image_size, tokenizer=config.data.tokenizer)
