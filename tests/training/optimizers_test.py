import jax.numpy as jnp
import numpy as np
import pytest

from tests.small_training import make_stage
from tireid_jax.training import optimizers

RATES = {
  "learning_rate": 1e-3, "bias_lr_factor": 2.0, "new_lr_factor": 5.0, "warmup_epochs": 2.0, "warmup_start": 0.1,
  "epochs": 6,
}  # fmt: skip


def rate(group, step, **changes):
  stage = make_stage(2, **{**RATES, "schedule_by": "step", **changes})
  return float(optimizers.learning_rates(stage, steps_per_epoch=10)[group](step))


def test_a_recipe_is_one_epoch_of_adam_with_one_learning_rate_unless_told_otherwise():
  recipe = optimizers.Recipe()
  assert (recipe.optimizer, recipe.epochs) == ("adam", 1)
  rates = optimizers.learning_rates(recipe, steps_per_epoch=10)
  factors = {group: float(rate(0)) / recipe.learning_rate for group, rate in rates.items()}
  assert factors == pytest.approx(dict.fromkeys(factors, 1.0))


@pytest.mark.parametrize(
  ("step", "fraction"), [(0, 0.1), (10, 0.55), (20, 1.0), (40, 0.5), (60, 0.0)],
)  # fmt: skip
def test_warm_up_is_linear_and_decay_a_cosine(step, fraction):
  assert rate("weights", step) == pytest.approx(1e-3 * fraction, abs=1e-9)


@pytest.mark.parametrize(("step", "fraction"), [(10, 0.55), (20, 1.0), (40, 1.0), (50, 0.5), (60, 0.0)])
def test_the_peak_is_held_for_the_stable_epochs(step, fraction):
  assert rate("weights", step, stable_epochs=2.0) == pytest.approx(1e-3 * fraction, abs=1e-9)


def test_a_schedule_by_epoch_is_constant_within_each_epoch():
  assert rate("weights", 10, schedule_by="epoch") == rate("weights", 19, schedule_by="epoch")
  assert rate("weights", 9, schedule_by="epoch") == pytest.approx(1e-4)
  assert rate("weights", 9) > 4e-4


def test_biases_the_head_and_prompts_have_learning_rate_factors_and_the_temperature_has_none():
  assert rate("prompts", 20, prompt_lr_factor=3.0) == pytest.approx(3e-3)
  assert rate("logit_scale", 20) == rate("weights", 20) == pytest.approx(1e-3)
  assert rate("biases", 20) == pytest.approx(2e-3)
  assert rate("id_head_weights", 20) == rate("id_head_biases", 20) == pytest.approx(5e-3)


def test_the_schedule_ends_at_the_final_fraction_of_the_learning_rate():
  assert rate("weights", 60, final_lr=0.01) == rate("weights", 90, final_lr=0.01) == pytest.approx(1e-5)
  assert rate("weights", 40, final_lr=0.5) == pytest.approx(7.5e-4)


def first_update(value, gradient, group, **changes):
  stage = make_stage(2, **{"learning_rate": 0.1, "warmup_epochs": 0.0, "adam_eps": 1e-3, "epochs": 1000, **changes})
  optimizer = optimizers.make_optimizer(stage, {"leaf": group}, steps_per_epoch=1000)
  leaf = {"leaf": jnp.float32(value)}
  updates, _ = optimizer.update({"leaf": jnp.float32(gradient)}, optimizer.init(leaf), leaf)
  return float(updates["leaf"])


def test_adam_equals_torch_with_coupled_weight_decay():
  """After one step of torch.optim.Adam(lr=.1, eps=1e-3, weight_decay=.5): g = .2 + .5 * 2, -lr * g / (|g| + eps)."""
  assert first_update(2.0, 0.2, "weights", weight_decay=0.5) == pytest.approx(-0.1 * 1.2 / 1.201, rel=1e-5)


def test_adamw_equals_torch_with_decoupled_weight_decay():
  """After one step of torch.optim.AdamW(lr=.1, eps=1e-3, weight_decay=.5): -lr * (g / (|g| + eps) + .5 * 2)."""
  update = first_update(2.0, 0.2, "weights", weight_decay=0.5, optimizer="adamw")
  assert update == pytest.approx(-0.1 * (0.2 / 0.201 + 1.0), rel=1e-5)


def test_an_unknown_optimizer_raises_an_error_that_lists_the_known_ones():
  with pytest.raises(ValueError, match="stage2.optimizer is 'lion'; it must be one of adam, adamw"):
    make_stage(2, optimizer="lion")


@pytest.mark.parametrize(
  ("group", "decayed"),
  [
    ("prompts", 1.2), ("id_head_weights", 1.2), ("biases", 0.2), ("id_head_biases", 0.2), ("logit_scale", 0.2),
  ],
)  # fmt: skip
def test_weight_decay_applies_to_weights_and_prompts_but_not_to_biases_and_the_temperature(group, decayed):
  update = first_update(2.0, 0.2, group, weight_decay=0.5, bias_lr_factor=1.0, new_lr_factor=1.0)
  assert update == pytest.approx(-0.1 * decayed / (decayed + 0.001), rel=1e-5)


def test_prompts_can_have_an_epsilon_and_a_weight_decay_of_their_own():
  own = {"weight_decay": 0.5, "prompt_adam_eps": 0.4, "prompt_weight_decay": 0.1}
  assert first_update(2.0, 0.2, "prompts", **own) == pytest.approx(-0.1 * 0.4 / (0.4 + 0.4), rel=1e-5)
  assert first_update(2.0, 0.2, "weights", **own) == pytest.approx(-0.1 * 1.2 / 1.201, rel=1e-5)
  without_decay = {**own, "prompt_weight_decay": 0.0}
  assert first_update(2.0, 0.2, "prompts", **without_decay) == pytest.approx(-0.1 * 0.2 / (0.2 + 0.4), rel=1e-5)


def test_gradients_are_clipped_by_the_norm_of_the_trained_leaves():
  stage = make_stage(2, clip_norm=1.0, learning_rate=0.1, warmup_epochs=0.0, adam_eps=1.0, epochs=1000)
  labels = {"trained": "weights", "other": "frozen"}
  optimizer = optimizers.make_optimizer(stage, labels, steps_per_epoch=1000)
  leaves = {"trained": jnp.array([3.0, 4.0]), "other": None}
  updates, _ = optimizer.update(leaves, optimizer.init(leaves), leaves)
  clipped = np.array([0.6, 0.8])  # norm 5, clipped to 1; weight decay is added afterwards
  decayed = clipped + stage.weight_decay * np.array([3.0, 4.0])
  np.testing.assert_allclose(updates["trained"], -0.1 * decayed / (decayed + 1.0), rtol=1e-5)
  assert updates["other"] is None
