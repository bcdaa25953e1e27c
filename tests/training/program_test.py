"""Compares the steps of a Program with NumPy, and tests which compiler options a config sets."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import toy
from tests import agreement
from tests.models import numpy_clip
from tests.training import compiled
from tireid_jax.evaluation import embedding
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.parallel import sharding
from tireid_jax.storage import compilation_cache
from tireid_jax.training import stages
from tireid_jax.training.program import Program


@pytest.fixture(params=[False, True], ids=["as it is", "deterministic"])
def is_deterministic(request):
  return request.param


def test_deterministic_is_passed_to_the_compiler_of_steps_and_encoders(is_deterministic):
  config = agreement.configured("stage1")
  config.deterministic = is_deterministic
  mesh = sharding.make_mesh(1, 1, 1)
  stage = stages.from_config(config, 1)
  program = Program(config, stage, agreement.VARIANT, mesh, num_identities=1, steps_per_epoch=1)
  batch = sharding.put_batch(mesh, agreement.draw_batch(0, stage.captions_per_image))
  assert compiled.is_deterministic(program.step(), program.shapes, batch) == is_deterministic
  encoders = embedding.Encoders(program.model, mesh, 8, compiler_options=program.compiler_options)
  tokens = jnp.ones((8, 5), jnp.int32)
  assert compiled.is_deterministic(encoders._text, program.shapes.variables, tokens) == is_deterministic


def test_gpu_options_are_not_passed_to_the_compiler_for_tpus():
  assert compilation_cache.compiler_options(deterministic=True, platform="tpu") is None
  assert compilation_cache.compiler_options(deterministic=True, platform="gpu") == {compiled.OPTION: True}


# Random augmentations are made deterministic below: every image is flipped, all words but one are deleted.

VARIANT = Variant(
  Tower(16, 1, 2), Tower(12, 1, 2), patch_size=8, embedding_size=8, native_image_size=(16, 8), vocabulary_size=64,
  text_length=9, end_token=63,
)  # fmt: skip
NUM_IDENTITIES = 3
RATE = 1e-3
# With such a small eps, Adam's first step changes every value by exactly the learning rate.
DETERMINISTIC = {
  "learning_rate": RATE,
  "warmup_epochs": 0.0,
  "adam_eps": 1e-20,
  "precision": "float32",
  "batch_size": 4,
}
NO_AUGMENTATION = {"flip": 0.0, "pad": 0, "erase_probability": 0.0}
# Image i has captions 2i and 2i + 1. Tokens after the first end token must not affect the embedding.
BATCH = {
  "images": np.random.default_rng(0).integers(0, 256, (2, 16, 8, 3), np.uint8),
  "tokens": np.array([[62, 5, 63, 0, 0], [62, 7, 7, 63, 0], [62, 9, 9, 9, 63], [62, 11, 63, 63, 0]], np.int32),
  "person_id": np.array([2, 2, 0, 0], np.int32),
}
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


def build(number, kind, *, augment=NO_AUGMENTATION, seed=4, **changes):
  """Returns the Program of a stage of configs/toy.py with changes, and random variables for it."""
  config = toy.get_config()
  config.data.image_size, config.temperature, config.seed = (16, 8), 0.3, seed
  config.prompts.update(image_length=2, text_length=1, depth=1)
  fields = config[f"stage{number}"]
  fields.update({**DETERMINISTIC, **changes})
  fields.augment.update(augment)
  fields.sampler.kind = kind
  program = Program(
    config, stages.from_config(config, number), VARIANT, sharding.make_mesh(1, 1, 1), num_identities=NUM_IDENTITIES,
    steps_per_epoch=10,
  )  # fmt: skip
  rng = np.random.default_rng(2)
  variables = jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(0.1, 0.5, leaf.shape), leaf.dtype), program.shapes.variables
  )
  return program, variables


def one_step(program, variables, batch):
  """Returns (variables after the first step, metrics)."""
  batch = sharding.put_batch(sharding.make_mesh(1, 1, 1), batch)
  state, metrics = program.step()(program.first_state(variables), batch)
  assert int(state.step) == 1
  return state.variables, {name: float(value) for name, value in metrics.items()}


def embed(variables, images, tokens, *, prompts):
  pixels = (np.asarray(images, np.float64) / 255 - MEAN) / STD
  image = [numpy_clip.encode_image(variables, one, variant=VARIANT, prompts=prompts) for one in pixels]
  text = [numpy_clip.encode_text(variables, one, variant=VARIANT, prompts=prompts) for one in tokens]
  return np.stack(image), np.stack(text)


def log_softmax(x):
  return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def cosine(image, text):
  image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
  return image @ text.T


def sdm(image, text, ids, temperature):
  same = (ids[:, None] == ids).astype(float)
  target = np.log(same / same.sum(axis=1, keepdims=True) + 1e-8)
  log_probabilities = (log_softmax(x) for x in (cosine(image, text) / temperature, cosine(text, image) / temperature))
  return sum((np.exp(log_p) * (log_p - target)).sum(axis=1).mean() for log_p in log_probabilities)


def itc(image, text, ids, temperature):
  logits = cosine(image, text) / temperature
  logits = np.where((ids[:, None] == ids) & ~np.eye(len(ids), dtype=bool), -np.inf, logits)
  return -sum(np.diagonal(log_softmax(x)).mean() for x in (logits, logits.T)) / 2


def identity(image, text, ids, head):
  losses = [
    -log_softmax(x @ np.float64(head["kernel"]) + np.float64(head["bias"]))[np.arange(len(ids)), ids].mean()
    for x in (image, text)
  ]
  return sum(losses) / 2


def distances_moved(before, after):
  """Returns {path: (smallest, largest) absolute change of its elements}."""
  distances = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)), before, after)
  return {
    stages.path_string(path): (leaf.min(), leaf.max()) for path, leaf in jax.tree_util.tree_leaves_with_path(distances)
  }


@pytest.fixture(scope="module")
def stage_2():
  """Returns (variables before, variables after, metrics) of a step that trains everything."""
  program, variables = build(
    2, "images", losses={"sdm": 0.5, "itc": 0.0, "identity": 3.0}, trains=("params", "prompts"), bias_lr_factor=2.0,
    new_lr_factor=5.0, prompt_lr_factor=7.0, weight_decay=0.0,
  )  # fmt: skip
  return variables, *one_step(program, variables, BATCH)


def test_the_losses_of_a_step_equal_numpys_with_the_temperature_and_weights_of_the_config(stage_2):
  variables, _, metrics = stage_2
  image, text = embed(variables, BATCH["images"], BATCH["tokens"], prompts=True)
  image, ids = image.repeat(2, axis=0), BATCH["person_id"]
  expected = {
    "loss/sdm": sdm(image, text, ids, temperature=0.3),
    "loss/identity": identity(image, text, ids, variables["params"]["id_head"]),
  }
  expected["loss/total"] = 0.5 * expected["loss/sdm"] + 3 * expected["loss/identity"]
  assert {name: metrics[name] for name in metrics if name.startswith("loss/")} == pytest.approx(expected, rel=1e-4)


def test_each_parameter_group_has_its_own_learning_rate_and_the_temperature_is_frozen(stage_2):
  before, after, _ = stage_2
  for path, (_, largest) in distances_moved(before, after).items():
    factor = 1.0
    if path.startswith("prompts/"):
      factor = 7.0
    elif path.startswith("params/id_head/"):
      factor = 5.0
    elif path.endswith("/bias"):
      factor = 2.0
    elif path == "params/logit_scale":
      factor = 0.0
    assert largest == pytest.approx(factor * RATE, rel=1e-3, abs=1e-9), path


def test_stage_1_flips_images_deletes_words_and_decays_prompts_as_configured():
  # Weight decay dominates the gradient, so that each element moves towards 0 by the learning rate.
  program, variables = build(
    1, "captions", losses={"sdm": 0.0, "itc": 1.0}, weight_decay=1e9, augment={**NO_AUGMENTATION, "flip": 1.0},
    augment_text={"delete_probability": 1.0},
  )  # fmt: skip
  batch = {
    "images": np.random.default_rng(1).integers(0, 256, (4, 16, 8, 3), np.uint8),
    "tokens": np.array([[62, 5, 63, 0, 0], [62, 7, 7, 63, 0], [62, 9, 9, 9, 63], [62, 11, 11, 63, 0]], np.int32),
    "person_id": BATCH["person_id"],
  }
  after, metrics = one_step(program, variables, batch)
  kept = np.array([[62, word, 63, 0, 0] for word in (5, 7, 9, 11)])
  image, text = embed(variables, batch["images"][:, :, ::-1], kept, prompts=True)
  expected = itc(image, text, batch["person_id"], temperature=0.3)
  assert [metrics["loss/itc"], metrics["loss/total"]] == pytest.approx([expected, expected], rel=1e-4)
  assert set(metrics) == {"loss/itc", "loss/total", "gradient_norm/prompts"}
  chex.assert_trees_all_equal(variables["params"], after["params"])
  expected = jax.tree.map(lambda leaf: leaf - RATE * np.sign(leaf), variables["prompts"])
  chex.assert_trees_all_close(after["prompts"], expected, atol=1e-6)


def test_stage_0_has_no_prompts_and_trains_the_temperature_of_its_loss():
  program, variables = build(0, "captions", losses={"itc": 1.0})
  assert variables["prompts"] == {}
  variables["params"]["logit_scale"] = jnp.float32(1.7)
  batch = BATCH | {"images": BATCH["images"].repeat(2, axis=0)}
  after, metrics = one_step(program, variables, batch)
  image, text = embed(variables, batch["images"], batch["tokens"], prompts=False)
  assert metrics["loss/itc"] == pytest.approx(itc(image, text, batch["person_id"], np.exp(-1.7)), rel=1e-4)
  assert distances_moved(variables, after)["params/logit_scale"][1] == pytest.approx(RATE, rel=1e-3)


def test_the_platform_of_the_mesh_decides_the_precision(monkeypatch):
  monkeypatch.setattr(sharding, "platform", lambda mesh: "tpu")
  program, _ = build(2, "captions", precision="auto")
  assert program.model.execution.dtype == jnp.bfloat16


def test_the_mesh_decides_how_activations_and_weights_are_placed(monkeypatch):
  monkeypatch.setattr(sharding, "activation_constraint", lambda mesh: constrain)
  monkeypatch.setattr(sharding, "gather_weights", lambda mesh: gather)

  def constrain(x, kind):
    return x

  def gather(path, weight, dtype):
    return weight.astype(dtype)

  execution = build(2, "captions")[0].model.execution
  assert (execution.constrain, execution.gather) == (constrain, gather)


@pytest.mark.parametrize(("value", "is_finite"), [(3e38, True), (np.inf, False), (-np.inf, False), (np.nan, False)])
def test_only_trained_values_that_are_not_finite_count_as_such(value, is_finite):
  program, variables = build(2, "captions")
  changed = jax.tree.map(lambda leaf: leaf, variables)
  changed["params"]["id_head"]["kernel"] = jnp.full_like(variables["params"]["id_head"]["kernel"], value)
  assert program.all_finite()(changed) == is_finite
  changed = jax.tree.map(lambda leaf: jnp.full_like(leaf, value), variables["prompts"])
  assert program.all_finite()({**variables, "prompts": changed})  # they are frozen


def test_a_program_describes_what_another_needs_to_equal_it():
  program, _ = build(2, "captions")
  mesh = {"data": 1, "fsdp": 1, "model": 1}
  assert program.described() == {
    "program": {
      "num_identities": NUM_IDENTITIES, "steps_per_epoch": 10, "precision": "float32", "attention": "xla", "mesh": mesh,
      "platform": "cpu",
    }
  }  # fmt: skip


def test_a_step_reuses_the_memory_of_its_state():
  program, variables = build(2, "captions")
  state = program.first_state(variables)
  program.step()(state, sharding.put_batch(sharding.make_mesh(1, 1, 1), BATCH))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_augmentation_differs_between_steps_seeds_and_stages():
  program, variables = build(
    1, "captions", augment={**NO_AUGMENTATION, "flip": 0.5, "erase_probability": 1.0}, learning_rate=0.0
  )
  step, mesh = program.step(), sharding.make_mesh(1, 1, 1)
  batch = sharding.put_batch(mesh, BATCH | {"images": BATCH["images"].repeat(2, axis=0)})
  state, losses = program.first_state(variables), []
  for _ in range(3):
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss/total"]))
  _, again = step(program.first_state(variables), batch)
  assert float(again["loss/total"]) == losses[0]
  assert len(set(losses)) == 3
  keys = [program.key, build(1, "captions", seed=5)[0].key, build(2, "captions")[0].key]
  assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3
