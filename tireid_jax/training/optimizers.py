"""Adam with coupled L2 decay, per group of leaves, and the learning-rate schedule."""

import jax.numpy as jnp
import optax

from tireid_jax.training.stages import FROZEN


def learning_rates(stage, steps_per_epoch):
  """Returns {group: step -> learning rate}, for every group that a stage's labels can name."""
  factors = {
    "weights": 1.0,
    "biases": stage.bias_lr_factor,
    "id_head_weights": stage.new_lr_factor,
    "id_head_biases": stage.new_lr_factor,
    "prompts": stage.prompt_lr_factor,
    "logit_scale": 1.0,
  }
  shape = _schedule(stage, steps_per_epoch)
  return {
    group: lambda step, factor=factor: stage.learning_rate * factor * shape(step) for group, factor in factors.items()
  }


def _schedule(stage, steps_per_epoch):
  """Returns step -> share of the peak: linear warm-up, then cosine, stepped per step or per epoch.

  Source: IRRA's LRSchedulerWithWarmup, whose epochs count from 0 here as its scheduler's do.
  """

  def share(step):
    epoch = step / steps_per_epoch
    if stage.schedule_by == "epoch":
      epoch = jnp.floor_divide(step, steps_per_epoch)
    warm = epoch / max(stage.warmup_epochs, 1e-9)
    rising = stage.warmup_start + (1 - stage.warmup_start) * warm
    progress = (epoch - stage.warmup_epochs) / max(stage.epochs - stage.warmup_epochs, 1e-9)
    falling = stage.final_lr + (1 - stage.final_lr) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    return jnp.where(epoch < stage.warmup_epochs, rising, falling)

  return share


def make_optimizer(stage, labels, steps_per_epoch):
  """Returns the optax transformation of a stage: `multi_transform` over its labels.

  Its gradients and parameters have None at the frozen leaves, which have no state either.
  """
  rates = learning_rates(stage, steps_per_epoch)

  def adam(group):
    decay = stage.weight_decay if group in ("weights", "id_head_weights", "prompts") else 0.0
    return optax.chain(
      optax.add_decayed_weights(decay),
      optax.scale_by_adam(*stage.adam_betas, eps=stage.adam_eps),
      optax.scale_by_learning_rate(rates[group]),
    )

  groups = {group: adam(group) for group in rates}
  update = optax.multi_transform({**groups, FROZEN: optax.set_to_zero()}, labels)
  return optax.chain(optax.clip_by_global_norm(stage.clip_norm), update) if stage.clip_norm else update
