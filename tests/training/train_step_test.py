import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.small_training import Setup, make_batch, make_stage
from tireid_jax.losses import LOSSES, itc_loss
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.training.stages import FROZEN, combine, partition
from tireid_jax.training.state import TrainState
from tireid_jax.training.train_step import make_loss, make_train_step

ONE_BLOCK = Variant(Tower(32, 1, 2), Tower(32, 1, 2), patch_size=4, embedding_size=16)
# Wide enough that matrix products dominate the FLOPs.
WIDE = Variant(Tower(128, 4, 4), Tower(128, 4, 4), patch_size=4, embedding_size=64)


def run_steps(setup, num_steps):
  step, state, batch = jax.jit(setup.step), setup.state, make_batch()
  for _ in range(num_steps):
    state, metrics = step(state, batch)
  return state, metrics


def has_changed(before, after):
  return jax.tree.map(lambda a, b: not np.array_equal(a, b), before, after)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_frozen_leaves_stay_bit_equal_and_every_trained_leaf_changes(number):
  # A constant learning rate: warm-up would leave the first step at 0.
  setup = Setup(make_stage(number, warmup_epochs=0.0))
  state, _ = run_steps(setup, 3)
  changed = has_changed(setup.state.variables, state.variables)
  is_trained = jax.tree.map(lambda label: label != FROZEN, setup.labels)
  assert changed == is_trained


def test_stage_1_changes_only_the_prompts():
  setup = Setup(make_stage(1))
  state, _ = run_steps(setup, 3)
  chex.assert_trees_all_equal(setup.state.variables["params"], state.variables["params"])


def test_frozen_leaves_have_no_optimiser_state():
  setup = Setup(make_stage(1))
  shapes = [leaf.shape for leaf in jax.tree.leaves(setup.state.optimizer) if leaf.ndim]
  assert sorted(shapes) == sorted([(3, 3, 32)] * 4)  # two moments for the prompts of each of two encoders


def flops(setup, step):
  batch = make_batch(batch_size=16, length=24)
  return jax.jit(step).lower(setup.state, batch).compile().cost_analysis()["flops"]


def wide(number):
  # Unrolled, because the compiler counts the body of a loop only once.
  stage = make_stage(number, losses={"itc": 1.0})
  return Setup(stage, variant=WIDE, prompts=PromptSpec(2, 2, depth=4), scan_blocks=False)


def test_stage_1_takes_0_60_to_0_75_of_the_flops_of_stage_2_and_differentiating_frozen_leaves_takes_more():
  first, second = wide(1), wide(2)

  def wasteful_step(state, batch):
    """Differentiates every leaf and logs the global gradient norm, but updates only the prompts."""
    nothing = jax.tree.map(lambda _: None, state.variables)
    gradients = jax.grad(lambda v: first.loss(v, nothing, batch, jax.random.key(0))[0])(state.variables)
    return gradients["prompts"], optax.tree.norm(gradients)

  all_flops = flops(second, second.step)
  assert 0.60 <= flops(first, first.step) / all_flops <= 0.75
  assert flops(first, wasteful_step) / all_flops > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_the_total_is_the_weighted_sum_of_the_terms(name):
  trains = ("prompts", "params/id_head") if name == "identity" else ("prompts",)
  setup = Setup(make_stage(1, losses={"itc": 0.5, name: 2.0}, trains=trains))
  _, metrics = run_steps(setup, 1)
  weights = {"itc": 0.5, name: 2.0}
  total = sum(weight * metrics[f"loss/{term}"] for term, weight in weights.items())
  np.testing.assert_allclose(metrics["loss/total"], total, rtol=1e-6)


def test_the_gradient_norm_of_a_group_covers_only_that_group():
  setup = Setup(make_stage(1))
  _, metrics = jax.jit(setup.step)(setup.state, make_batch())
  prompts = setup.state.variables["prompts"]
  frozen = {"params": setup.state.variables["params"], "prompts": jax.tree.map(lambda _: None, prompts)}
  trained = {"params": jax.tree.map(lambda _: None, setup.state.variables["params"]), "prompts": prompts}
  gradients = jax.jit(jax.grad(lambda t: setup.loss(t, frozen, make_batch(), jax.random.key(0))[0]))(trained)
  assert [name for name in metrics if name.startswith("gradient_norm")] == ["gradient_norm/prompts"]
  np.testing.assert_allclose(metrics["gradient_norm/prompts"], optax.tree.norm(gradients), rtol=1e-5)
  chex.assert_trees_all_equal(combine(trained, frozen), setup.state.variables)


@pytest.fixture(scope="module")
def one_block():
  """Returns (Setup, function of a batch that returns ((total, terms), gradients of all variables))."""
  stage = make_stage(2, trains=("prompts", "params"), losses={"sdm": 1.0, "itc": 1.0, "identity": 1.0})
  setup = Setup(stage, variant=ONE_BLOCK, prompts=PromptSpec(2, 2, depth=1), scan_blocks=False)
  compiled = jax.jit(jax.value_and_grad(setup.loss, has_aux=True))
  parts = partition(setup.state.variables, setup.labels)
  return setup, lambda batch: compiled(*parts, batch, jax.random.key(0))


def assert_equal_up_to_rounding(one, other):
  (_, terms), gradients = one
  (_, other_terms), other_gradients = other
  chex.assert_trees_all_close(terms, other_terms, rtol=1e-5)
  largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
  chex.assert_trees_all_close(gradients, other_gradients, rtol=1e-3, atol=1e-6 * largest)


def test_padding_captions_to_77_tokens_does_not_change_the_loss_and_gradients(one_block):
  _, loss_and_gradients = one_block
  short = make_batch(length=12)
  long = short | {"tokens": jnp.pad(short["tokens"], ((0, 0), (0, 77 - 12)))}
  assert_equal_up_to_rounding(loss_and_gradients(short), loss_and_gradients(long))


def test_encoding_an_image_once_for_all_its_captions_does_not_change_the_loss_and_gradients(one_block):
  _, loss_and_gradients = one_block
  batch = make_batch()
  person_id = jnp.repeat(batch["person_id"][:4], 2)
  grouped = batch | {"images": batch["images"][:4], "person_id": person_id}
  repeated = batch | {"images": jnp.repeat(batch["images"][:4], 2, axis=0), "person_id": person_id}
  assert_equal_up_to_rounding(loss_and_gradients(grouped), loss_and_gradients(repeated))


def test_encoding_an_image_once_for_two_captions_saves_half_of_the_image_encoders_flops():
  setup = Setup(make_stage(2), variant=WIDE, scan_blocks=False)

  def count(batch):
    arguments = (*partition(setup.state.variables, setup.labels), batch, jax.random.key(0))
    return jax.jit(setup.loss).lower(*arguments).cost_analysis()["flops"]

  whole = make_batch(batch_size=64, length=33)  # as many tokens as an image has
  grouped = whole | {"images": whole["images"][:32]}
  assert 0.7 < count(grouped) / count(whole) < 0.8


def test_stage_0_uses_and_trains_the_temperature():
  setup = Setup(make_stage(0, warmup_epochs=0.0))
  state, metrics = run_steps(setup, 1)
  warmer = setup.state.variables | {
    "params": setup.state.variables["params"] | {"logit_scale": jnp.float32(0.0)},
  }
  _, other = jax.jit(setup.step)(setup.state.replace(variables=warmer), make_batch())
  assert state.variables["params"]["logit_scale"] != setup.state.variables["params"]["logit_scale"]
  assert metrics["loss/total"] != other["loss/total"]


class IdentityModel:
  """A model that returns its inputs as embeddings."""

  def apply(self, variables, images, tokens, **_):
    return images, tokens


def test_the_learned_temperature_is_the_reciprocal_of_the_logit_scale():
  image, text = jax.random.normal(jax.random.key(0), (2, 4, 3))
  batch = {"images": image, "tokens": text, "person_id": jnp.arange(4)}
  loss = make_loss(
    IdentityModel(), {"itc": 1.0}, augment=lambda key, images, indices: images,
    augment_text=lambda key, tokens, indices: tokens, temperature=None,
  )  # fmt: skip
  variables = {"params": {"logit_scale": jnp.log(4.0)}}
  total, _ = loss(variables, {"params": {"logit_scale": None}}, batch, jax.random.key(0))
  np.testing.assert_allclose(total, itc_loss(image, text, temperature=0.25), rtol=1e-6)


def test_the_step_counter_increases_and_determines_the_random_key():
  def loss(trained, frozen, batch, key):
    return trained["w"] * jax.random.uniform(key), {}

  run_key = jax.random.key(1)
  step = make_train_step(loss, optax.sgd(1.0), {"w": "weights"}, run_key)
  state = TrainState(jnp.int32(0), {"w": jnp.float32(1.0)}, optax.sgd(1.0).init({"w": 0.0}))
  for number in range(3):
    assert state.step == number
    state, metrics = step(state, {})
    assert metrics["gradient_norm/weights"] == jax.random.uniform(jax.random.fold_in(run_key, number))


def test_an_unknown_loss_raises_an_error_with_its_name():
  with pytest.raises(ValueError, match="there is no loss 'triplet'; the losses are sdm, itc"):
    make_loss(None, {"triplet": 1.0}, augment=None, augment_text=None, temperature=0.02)
