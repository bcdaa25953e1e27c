"""The recipe of both stages that every data set's file starts from, and the table of ablations.

Fields, their meaning, defaults and allowed values are declared in tireid_jax/config/schema.py, and listed in
docs/config.md; here are the values that differ from the defaults.

The paper (arXiv 2401.02173) gives, as far as we know, no prompt length, depth, initialisation, losses, learning rates
or epochs of its two stages. The values here are ours: stage 1 follows CLIP-ReID's prompt stage, stage 2 follows IRRA. A
data set's file (`cuhk.py`, ...) changes what it must and nothing else.

  python -m tireid_jax.main --config=configs/cuhk.py --stage=all --workdir=W
  python -m tireid_jax.main --config=configs/cuhk.py:no_stage1 --stage=all --workdir=W2 --config.seed=1
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import schema
from tireid_jax.errors import UserError, did_you_mean
from tireid_jax.losses import LOSSES

# Losses and optimizer of IRRA without its masked language model: Adam with coupled L2 decay.
IRRA_RECIPE = {
  "trains": ("params",),
  "losses": {"sdm": 1.0, "identity": 1.0},
  "epochs": 60,
  "batch_size": 64,
  "learning_rate": 1e-5,
  "adam_eps": 1e-3,
  "weight_decay": 4e-5,
  "bias_lr_factor": 2.0,
  "new_lr_factor": 5.0,
  "warmup_epochs": 5.0,
  "warmup_start": 0.1,
  "schedule_by": "epoch",
}


def base_config() -> ConfigDict:
  """Returns the config that every data set's file starts from."""
  config = ConfigDict(schema.default_config())
  config.prompts.update(image_length=4, text_length=4, depth=12)
  config.stage0.update(
    trains=("params",),
    init_from="random",
    use_prompts=False,
    learns_temperature=True,
    losses={"itc": 1.0},
    epochs=20,
    learning_rate=5e-4,
    warmup_epochs=1.0,
  )
  config.stage1.update(
    trains=("prompts",),
    init_from="pretrained",
    losses={"itc": 1.0},
    epochs=10,
    learning_rate=3.5e-4,
    weight_decay=1e-4,
    warmup_epochs=1.0,
  )
  config.stage2.update(init_from="stage1", **IRRA_RECIPE)
  return config


@dataclasses.dataclass(frozen=True)
class Computed:
  """In a row of ABLATIONS: a value that is computed from the config as it is before the row is applied."""

  value_of: Callable[[ConfigDict], Any]


def same(field: str) -> Computed:
  """Returns the value that another field has before the row is applied."""
  return Computed(lambda config: copy.deepcopy(config[field]))


def _epochs_of_both(config):
  """Returns the epochs of stage 2 that take as many steps as both stages."""
  return config.stage2.epochs + config.stage1.epochs * config.stage2.batch_size // config.stage1.batch_size


_NO_PROMPTS = {"prompts.image_length": 0, "prompts.text_length": 0}
_DIRECT = {"stages": (2,), "stage2.init_from": "pretrained"}


def _only(**losses):
  return {**dict.fromkeys(LOSSES, 0.0), **losses}


def _recipe(losses, **recipe):
  fields = {"losses": _only(**losses), "sampler.kind": "captions", **recipe}
  return {f"stage2.{name}": value for name, value in fields.items()}


# Name: {field: value}. Each row runs on every data set.
ABLATIONS: dict[str, dict] = {
  # Direct fine-tuning, without prompts.
  "no_prompts": {**_NO_PROMPTS, **_DIRECT},
  # The same for as many steps as both stages take.
  "no_prompts_long": {**_NO_PROMPTS, **_DIRECT, "stage2.epochs": Computed(_epochs_of_both)},
  # Prompts frozen at their random initial values, encoders fine-tuned.
  "no_stage1": _DIRECT,
  "prompts_only": {"stages": (1,)},
  # Prompts and encoders together, by stage 2's recipe: one learning rate and Adam epsilon for both.
  "joint": {**_DIRECT, "stage2.trains": ("prompts", "params")},
  # Encoders first, without prompts, by stage 2's recipe; then the prompts, by stage 1's.
  "reversed": {
    "stage1": same("stage2"),
    "stage2": same("stage1"),
    "stage1.init_from": "pretrained",
    "stage1.use_prompts": False,
    "stage2.init_from": "stage1",
  },
  "image_prompts_only": {"prompts.text_length": 0},
  "text_prompts_only": {"prompts.image_length": 0},
  "shallow": {"prompts.depth": 1},
  # With length 0 there is nothing to train in stage 1.
  "prompt_length_0": {**_NO_PROMPTS, **_DIRECT},
  **{f"prompt_length_{n}": {"prompts.image_length": n, "prompts.text_length": n} for n in (1, 2, 4, 8, 16)},
  "stage1_sdm": {"stage1.losses": _only(sdm=1.0)},
  "stage1_sdm_id": {
    "stage1.losses": _only(sdm=1.0, identity=1.0),
    "stage1.trains": ("prompts", "params/id_head"),
  },
  # The two rows to check first on real data: IRRA's "CLIP, fine-tuned" and IRRA without its language model.
  "clip_baseline": {**_NO_PROMPTS, **_DIRECT, **_recipe(**{**IRRA_RECIPE, "losses": {"itc_plain": 1.0}})},
  "irra_like": {**_NO_PROMPTS, **_DIRECT, **_recipe(**IRRA_RECIPE)},
}


def with_ablation(config: ConfigDict, name: str) -> ConfigDict:
  """Applies a row of ABLATIONS to a config and returns it; "" changes nothing."""
  if not name:
    return config
  if name not in ABLATIONS:
    raise UserError(f"there is no ablation {name!r}{did_you_mean(name, ABLATIONS)}; all: {', '.join(ABLATIONS)}")
  before = copy.deepcopy(config)
  for field, value in ABLATIONS[name].items():
    if isinstance(value, Computed):
      value = value.value_of(before)
    section, _, last = field.rpartition(".")
    (config[section] if section else config)[last] = value
  config.ablation = name
  return config
