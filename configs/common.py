"""The recipe of both stages that every data set's file starts from, and the table of ablations.

Fields, their meaning, defaults and allowed values are declared in tireid_jax/config/schema.py, and listed in
docs/config.md; here are the values that differ from the defaults.

The paper (arXiv 2401.02173) gives, as far as we know, no prompt length, depth, initialisation, losses, learning rates
or epochs of its two stages. The values here are ours: stage 1 follows CLIP-ReID's prompt stage, stage 2 follows IRRA. A
data set's file (`cuhk.py`, ...) changes what it must and nothing else.

  python -m tireid_jax.main --config=configs/cuhk.py --stage=all --workdir=W --config.pretrained=CLIP
  python -m tireid_jax.main --config=configs/cuhk.py:no_stage1 --stage=all --workdir=W2 --config.pretrained=CLIP
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


def _epochs_of_both_by_stage_1(config):
  """Returns the epochs of stage 1 that take as many steps as both stages."""
  return config.stage1.epochs + config.stage2.epochs * config.stage1.batch_size // config.stage2.batch_size


def _epochs_of_prompts(config):
  """Returns the epochs of stage 2 that take as many steps as stage 1."""
  return max(1, config.stage1.epochs * config.stage2.batch_size // config.stage1.batch_size)


def _ratio(numerator, denominator):
  return numerator / denominator if denominator else 1.0


# Where stage 2 trains prompts, their peak learning rate, Adam epsilon and weight decay are those of stage 1. Warm-up
# and schedule are stage 2's, since a stage has only one.
_PROMPT_RECIPE = {
  "stage2.prompt_lr_factor": Computed(lambda config: _ratio(config.stage1.learning_rate, config.stage2.learning_rate)),
  "stage2.prompt_adam_eps": Computed(lambda config: config.stage1.adam_eps),
  "stage2.prompt_weight_decay": Computed(lambda config: config.stage1.weight_decay),
}


def _reduced_rate(factor):
  return Computed(lambda config: config.stage2.learning_rate / factor)


def _depth(fraction):
  return Computed(lambda config: max(1, round(fraction * config.prompts.depth)))


_LONG = {"stage2.epochs": Computed(_epochs_of_both)}
_NO_PROMPTS = {"prompts.image_length": 0, "prompts.text_length": 0}
_DIRECT = {"stages": (2,), "stage2.init_from": "pretrained"}


def _only(**losses):
  return {**dict.fromkeys(LOSSES, 0.0), **losses}


def _without_identity():
  return Computed(lambda config: {**config.stage2.losses.to_dict(), "identity": 0.0})


def _recipe(losses, **recipe):
  fields = {"losses": _only(**losses), "sampler.kind": "captions", **recipe}
  return {f"stage2.{name}": value for name, value in fields.items()}


# Name: {field: value}. Each row runs on every data set.
ABLATIONS: dict[str, dict] = {
  # Direct fine-tuning, without prompts.
  "no_prompts": {**_NO_PROMPTS, **_DIRECT},
  # The same for as many steps as both stages take.
  "no_prompts_long": {**_NO_PROMPTS, **_DIRECT, **_LONG},
  **{
    f"no_prompts_long_lr_{factor}": {
      **_NO_PROMPTS,
      **_DIRECT,
      **_LONG,
      "stage2.learning_rate": _reduced_rate(factor),
    }
    for factor in (3, 10, 30)
  },
  # The identity head first, by stage 1's recipe with frozen encoders, then all (LP-FT, arXiv 2202.10054).
  "head_first": {
    **_NO_PROMPTS,
    "stage1.use_prompts": False,
    "stage1.trains": ("params/id_head",),
    "stage1.losses": _only(identity=1.0),
  },
  # Prompts frozen at their random initial values, encoders fine-tuned.
  "no_stage1": _DIRECT,
  "no_stage1_long": {**_DIRECT, **_LONG},
  "prompts_only": {"stages": (1,)},
  # As many steps as both stages, by the recipe and losses of stage 1, or by the losses of stage 2.
  "prompts_only_long": {"stages": (1,), "stage1.epochs": Computed(_epochs_of_both_by_stage_1)},
  "prompts_only_long_stage2_losses": {
    **_DIRECT,
    **_LONG,
    **_PROMPT_RECIPE,
    "stage2.trains": ("prompts", "params/id_head"),
  },
  # Stage 1 leaves the encoders unchanged, so this equals no_prompts unless stage 1 also trains the identity head.
  "drop_prompts": {"stage2.use_prompts": False},
  # Prompts and encoders together, by stage 2's losses.
  "joint": {**_DIRECT, **_PROMPT_RECIPE, "stage2.trains": ("prompts", "params")},
  "joint_long": {**_DIRECT, **_LONG, **_PROMPT_RECIPE, "stage2.trains": ("prompts", "params")},
  # Encoders first, without prompts, by stage 2's recipe; then the prompts, by stage 1's.
  "reversed": {
    "stage1": same("stage2"),
    "stage2": same("stage1"),
    "stage1.init_from": "pretrained",
    "stage1.use_prompts": False,
    "stage2.init_from": "stage1",
  },
  # The same, but with the losses of stage 2 for the prompts.
  "reversed_stage2_losses": {
    "stage1": same("stage2"),
    "stage1.init_from": "pretrained",
    "stage1.use_prompts": False,
    "stage2.init_from": "stage1",
    "stage2.trains": ("prompts", "params/id_head"),
    "stage2.epochs": Computed(_epochs_of_prompts),
    **_PROMPT_RECIPE,
  },
  "image_prompts_only": {"prompts.text_length": 0},
  "text_prompts_only": {"prompts.image_length": 0},
  "shallow": {"prompts.depth": 1},
  **{f"depth_{quarters}_of_4": {"prompts.depth": _depth(quarters / 4)} for quarters in (1, 2, 3)},
  # With length 0 there is nothing to train in stage 1.
  "prompt_length_0": {**_NO_PROMPTS, **_DIRECT},
  **{f"prompt_length_{n}": {"prompts.image_length": n, "prompts.text_length": n} for n in (1, 2, 4, 8, 16)},
  "stage1_sdm": {"stage1.losses": _only(sdm=1.0)},
  "stage1_sdm_id": {
    "stage1.losses": _only(sdm=1.0, identity=1.0),
    "stage1.trains": ("prompts", "params/id_head"),
  },
  # The same, but stage 2 starts with a new head, as it does after the other losses.
  "stage1_sdm_id_new_head": {
    "stage1.losses": _only(sdm=1.0, identity=1.0),
    "stage1.trains": ("prompts", "params/id_head"),
    "stage2.new_head": True,
  },
  "stage2_no_identity": {"stage2.losses": _without_identity()},
  "no_prompts_long_no_identity": {**_NO_PROMPTS, **_DIRECT, **_LONG, "stage2.losses": _without_identity()},
  "no_stage1_long_no_identity": {**_DIRECT, **_LONG, "stage2.losses": _without_identity()},
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
