"""Optimizers, the parameter groups that they update, and the learning-rate schedule.

To add an optimizer, write its builder here and add it to `OPTIMIZERS`; its own settings are fields of `Recipe`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from tireid_jax.fields import at_least, field, must, one_of

# The group of the leaves that are not trained.
FROZEN = "frozen"

_NOT_NEGATIVE = must("0 or more", lambda value: value >= 0)

# step -> learning rate, f32[].
Schedule = Callable[[jax.Array], jax.Array]


def _adam(recipe: "Recipe", decay: float, rate: Schedule) -> optax.GradientTransformation:
  """Adam with coupled L2 decay, as torch.optim.Adam: the decay is added to the gradient."""
  return optax.chain(
    optax.add_decayed_weights(decay),
    optax.scale_by_adam(*recipe.adam_betas, eps=recipe.adam_eps),
    optax.scale_by_learning_rate(rate),
  )


def _adamw(recipe: "Recipe", decay: float, rate: Schedule) -> optax.GradientTransformation:
  """Adam with decoupled decay (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101)."""
  return optax.chain(
    optax.scale_by_adam(*recipe.adam_betas, eps=recipe.adam_eps),
    optax.add_decayed_weights(decay),
    optax.scale_by_learning_rate(rate),
  )


# Name of `stageN.optimizer`: (recipe, weight decay of the group, its learning rate) -> optax transformation of a group.
OPTIMIZERS = {"adam": _adam, "adamw": _adamw}


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The fields of a stage that decide how the trained variables learn."""

  optimizer: str = field(
    "adam",
    '"adam", whose weight decay is L2, added to the gradient; or "adamw", whose decay is decoupled',
    one_of(*OPTIMIZERS),
  )
  epochs: int = field(1, "passes over what the sampler iterates over: captions, identities or images", at_least(1))
  learning_rate: float = field(1e-5, "peak learning rate", _NOT_NEGATIVE)
  adam_betas: tuple[float, float] = field(
    (0.9, 0.999), "of adam and adamw", must("two numbers, as (0.9,0.999)", lambda betas: len(betas) == 2)
  )
  adam_eps: float = field(1e-8, "of adam and adamw")
  weight_decay: float = field(0.0, "of weights and prompts; biases are not decayed", _NOT_NEGATIVE)
  bias_lr_factor: float = field(1.0, "times learning_rate, for biases")
  new_lr_factor: float = field(1.0, "times learning_rate, for the identity head")
  prompt_lr_factor: float = field(1.0, "times learning_rate, for prompts")
  prompt_adam_eps: float = field(0.0, "of prompts; 0 for adam_eps", _NOT_NEGATIVE)
  prompt_weight_decay: float = field(-1.0, "of prompts; -1 for weight_decay", at_least(-1))
  warmup_epochs: float = field(0.0, "epochs of linear warm-up", _NOT_NEGATIVE)
  stable_epochs: float = field(0.0, "epochs at the peak learning rate, between warm-up and cosine", _NOT_NEGATIVE)
  warmup_start: float = field(0.0, "fraction of the learning rate at step 0")
  final_lr: float = field(0.0, "fraction of the learning rate at the end of the cosine")
  schedule_by: str = field("step", '"step", or "epoch": constant within an epoch', one_of("step", "epoch"))
  clip_norm: float = field(0.0, "maximum norm of the trained gradients; 0 for no clipping", _NOT_NEGATIVE)


def learning_rates(recipe: Recipe, steps_per_epoch: int) -> dict[str, Schedule]:
  """Returns {group: step -> learning rate}, for every group that a stage's labels can name."""
  factors = {
    "weights": 1.0,
    "biases": recipe.bias_lr_factor,
    "id_head_weights": recipe.new_lr_factor,
    "id_head_biases": recipe.new_lr_factor,
    "prompts": recipe.prompt_lr_factor,
    "logit_scale": 1.0,
  }
  fraction = _schedule(recipe, steps_per_epoch)

  def rate(factor: float) -> Schedule:
    return lambda step: recipe.learning_rate * factor * fraction(step)

  return {group: rate(factor) for group, factor in factors.items()}


def _schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
  """Returns step -> fraction of the peak: linear warm-up, peak, cosine; updated per step or per epoch.

  Source: IRRA's LRSchedulerWithWarmup; epochs count from 0, as in its scheduler.
  """
  # Not optax.warmup_cosine_decay_schedule, whose rounding differs: for stage 2 on CUHK-PEDES at 13,832 of 63,840 steps
  # in float32, so runs would no longer repeat to the bit. Its warm-up also has a whole number of steps.

  held_until = recipe.warmup_epochs + recipe.stable_epochs

  def fraction(step):
    epoch = step / steps_per_epoch
    if recipe.schedule_by == "epoch":
      epoch = jnp.floor_divide(step, steps_per_epoch)
    warm = epoch / max(recipe.warmup_epochs, 1e-9)
    rising = recipe.warmup_start + (1 - recipe.warmup_start) * warm
    progress = (epoch - held_until) / max(recipe.epochs - held_until, 1e-9)
    falling = recipe.final_lr + (1 - recipe.final_lr) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    return jnp.where(epoch < recipe.warmup_epochs, rising, falling)

  return fraction


def make_optimizer(recipe: Recipe, labels, steps_per_epoch: int) -> optax.GradientTransformation:
  """Returns the optax transformation of a stage: `multi_transform` over its parameter groups.

  Its gradients and parameters are None at the frozen leaves, which have no optimizer state either.

  Args:
    recipe: of the stage.
    labels: from `Stage.labels`.
    steps_per_epoch: of the stage's sampler.
  """
  build = OPTIMIZERS[recipe.optimizer]
  decay = dict.fromkeys(("weights", "id_head_weights", "prompts"), recipe.weight_decay)
  recipes = {}
  if recipe.prompt_weight_decay >= 0:
    decay["prompts"] = recipe.prompt_weight_decay
  if recipe.prompt_adam_eps:
    recipes["prompts"] = dataclasses.replace(recipe, adam_eps=recipe.prompt_adam_eps)
  groups = {
    group: build(recipes.get(group, recipe), decay.get(group, 0.0), rate)
    for group, rate in learning_rates(recipe, steps_per_epoch).items()
  }
  update = optax.multi_transform({**groups, FROZEN: optax.set_to_zero()}, labels)
  return optax.chain(optax.clip_by_global_norm(recipe.clip_norm), update) if recipe.clip_norm else update
