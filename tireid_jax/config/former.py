"""What earlier versions named differently or did not have yet."""

from typing import Any

from tireid_jax import fields
from tireid_jax.errors import UserError
from tireid_jax.losses import LOSSES
from tireid_jax.training.optimizers import Recipe

# Fields that configs stored by earlier versions lack, by section, with the value that those versions effectively used.
# Losses that a version lacks had no weight, and settings of optimizers that it lacks had no effect.
_RECIPE_OF_ALL_VERSIONS = {
  "epochs", "learning_rate", "adam_betas", "adam_eps", "weight_decay", "bias_lr_factor", "new_lr_factor",
  "prompt_lr_factor", "warmup_epochs", "warmup_start", "final_lr", "schedule_by", "clip_norm",
}  # fmt: skip
_NEW_IN_RECIPE = {name: value for name, value in fields.defaults(Recipe).items() if name not in _RECIPE_OF_ALL_VERSIONS}
_NO_STUDY = {
  "gallery_persons": 0, "further_results": False, "held_out": "", "domains": (), "train_ids": (), "val_ids": 0,
  "test_ids": 0, "learning_rates": (), "epochs": (), "max_extensions": 2, "tune_ids": 0, "pool_seed": 0,
  "pool_held_out": 1_000, "test_domains": (), "rates_first": False,
}  # fmt: skip
NEW_FIELDS: dict[str, dict[str, Any]] = {
  "": {"pretrained_prefix": "", "select_by": "t2i/R@1", "study": _NO_STUDY},
  "prompts": {"placement": "deep"},
  "study": _NO_STUDY,
  **{f"stage{number}": _NEW_IN_RECIPE | {"optimizer": "adam", "new_head": False} for number in (0, 1, 2)},
}

# Embedded data sets, and the raw folders of each: under its former name, the first has that of a published data set.
DATA_SETS = {"synth_pedes": "toy_pedes", "synth_generic": "toy_generic"}
RAW_FOLDERS = {"toy_pedes": "SynthPEDES", "toy_generic": "SynthGeneric"}

_COMMANDS = (
  "python -m tireid_jax.data.toy --config=configs/toy.py --to=RAW, then "
  "python -m tireid_jax.data.prepare --config=configs/toy.py --raw=RAW"
)


def with_new_fields(data: Any) -> Any:
  """Returns a stored config, JSON data of any version, with the fields that its version lacked."""
  if not isinstance(data, dict):
    return data
  data = {**NEW_FIELDS[""], **data}
  for name, added in NEW_FIELDS.items():
    section = data.get(name)
    if isinstance(section, dict):
      data[name] = {**added, **section}
      if isinstance(section.get("losses"), dict):
        data[name]["losses"] = {**dict.fromkeys(LOSSES, 0.0), **section["losses"]}
  return data


def check_data_set(name: str | None) -> None:
  """Raises UserError for the former name of a synthetic data set, with the commands that generate it again."""
  if name in DATA_SETS:
    raise UserError(
      f"{name} is now called {DATA_SETS[name]}, and neither its data nor its workdirs are read; generate it with "
      f"{_COMMANDS}, and train in a new --workdir"
    )


def hint(name: str, folder: Any) -> str:
  """Returns ", but there is ..." where a folder holds a synthetic data set under its former name, else ""."""
  former = {new: old for old, new in DATA_SETS.items()}.get(name, "")
  for found in filter(None, (former, RAW_FOLDERS.get(name))):
    if (folder / found).is_dir():
      return f", but {found}, its former name, whose data are not read: generate it with {_COMMANDS}"
  return ""
