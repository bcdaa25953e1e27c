import dataclasses

import jax
import jax.numpy as jnp
import pytest

from configs import toy
from tests.small_training import make_stage
from tireid_jax.training import stages

VARIABLES = {
  "params": {
    "image_encoder": {"ln_post": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
    "text_encoder": {"ln_final": {"scale": jnp.ones(3), "bias": jnp.ones(3)}},
    "logit_scale": jnp.ones(()),
    "id_head": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(4)},
  },
  "prompts": {"image_encoder": {"tokens": jnp.ones((1, 2, 2))}},
}


def labels_by_path(**changes):
  labels = make_stage(2, **changes).labels(VARIABLES)
  return {stages.path_string(path): label for path, label in jax.tree_util.tree_leaves_with_path(labels)}


def test_naming_a_collection_trains_all_of_it_except_the_temperature():
  labels = labels_by_path(trains=("params",))
  assert labels == {
    "params/image_encoder/ln_post/scale": "weights",
    "params/image_encoder/ln_post/bias": "biases",
    "params/text_encoder/ln_final/scale": "weights",
    "params/text_encoder/ln_final/bias": "biases",
    "params/logit_scale": "frozen",
    "params/id_head/kernel": "id_head_weights",
    "params/id_head/bias": "id_head_biases",
    "prompts/image_encoder/tokens": "frozen",
  }


def test_naming_a_subtree_trains_only_that_subtree():
  labels = labels_by_path(trains=("params/image_encoder", "params/id_head"))
  assert {path for path, label in labels.items() if label != "frozen"} == {
    "params/image_encoder/ln_post/scale", "params/image_encoder/ln_post/bias", "params/id_head/kernel",
    "params/id_head/bias",
  }  # fmt: skip


def test_learns_temperature_trains_the_logit_scale():
  assert labels_by_path(learns_temperature=True)["params/logit_scale"] == "logit_scale"


def test_combine_is_the_inverse_of_partition():
  labels = make_stage(2).labels(VARIABLES)
  trained, frozen = stages.partition(VARIABLES, labels)
  assert trained["prompts"]["image_encoder"]["tokens"] is None
  assert frozen["params"]["id_head"]["kernel"] is None
  assert jax.tree.all(jax.tree.map(lambda a, b: a is b, stages.combine(trained, frozen), VARIABLES))


def test_trained_and_total_parameters_are_counted():
  assert stages.count_parameters(VARIABLES, make_stage(1).labels(VARIABLES)) == (4, 4 + 10 + 1 + 12)


@pytest.mark.parametrize(("microbatch_size", "num_chunks"), [(0, 1), (64, 1), (16, 4)])
def test_the_microbatch_size_sets_the_number_of_chunks(microbatch_size, num_chunks):
  assert make_stage(2, batch_size=64, microbatch_size=microbatch_size).num_chunks == num_chunks


def test_a_path_that_the_model_lacks_raises():
  with pytest.raises(ValueError, match="stage2.trains names 'params/image_encodr', but the model has only"):
    make_stage(2, trains=("params/image_encodr", "params/id_head")).labels(VARIABLES)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"epochs": 0}, "stage2.epochs is 0; it must be at least 1"),
    ({"batch_size": -1}, "stage2.batch_size is -1"),
    ({"microbatch_size": 48}, "stage2.microbatch_size is 48, which does not divide stage2.batch_size=64"),
    ({"microbatch_size": -8}, "stage2.microbatch_size is -8"),
    ({"learning_rate": -1e-5}, "stage2.learning_rate is -1e-05; it must be 0 or more"),
    ({"schedule_by": "hour"}, "stage2.schedule_by is 'hour'; it must be one of step, epoch"),
    ({"losses": dict.fromkeys(("sdm", "itc", "itc_plain", "cmpm", "identity"), 0.0)}, "stage2.losses are all 0"),
    (
      {"losses": {"itc_plain": 1.0}, "sampler": {"kind": "images", "captions_per_image": 2}},
      "stage2.losses.itc_plain uses as negatives the captions that stage2.sampler.kind=images groups",
    ),
    (
      {"losses": {"itc_plain": 1.0}, "sampler": {"kind": "identities", "captions_per_identity": 2}},
      "stage2.losses.itc_plain uses as negatives the captions that stage2.sampler.kind=identities groups",
    ),
    ({"trains": ("prompts",)}, "add 'params/id_head' to --config.stage2.trains"),
    ({"evaluate_every_epochs": 0}, "stage2.evaluate_every_epochs is 0; it must be at least 1"),
    ({"weight_decay": -1.0}, "stage2.weight_decay is -1.0; it must be 0 or more"),
    ({"clip_norm": -1.0}, "stage2.clip_norm is -1.0; it must be 0 or more"),
    ({"warmup_epochs": -1.0}, "stage2.warmup_epochs is -1.0; it must be 0 or more"),
    (
      {"precision": "float16"},
      "(did you mean 'bfloat16'?); it must be one of auto, float32, bfloat16",
    ),
    ({"adam_betas": (0.9,)}, "stage2.adam_betas is (0.9,); it must be two numbers"),
    ({"adam_betas": (0.9, 0.99, 0.999)}, "it must be two numbers"),
    ({"prompt_weight_decay": -1.5}, "stage2.prompt_weight_decay is -1.5; it must be at least -1"),
    ({"batch_size": 10, "sampler": {"kind": "images", "captions_per_image": 4}}, "stage2.batch_size 10 must be a mul"),
    ({"sampler": {"kind": "persons"}}, "stage2.sampler.kind is 'persons'; it must be one of "),
  ],
)
def test_invalid_stages_raise(changes, message):
  with pytest.raises(ValueError) as error:
    make_stage(2, **changes)
  assert message in str(error.value)


def test_a_loss_that_does_not_exist_raises():
  with pytest.raises(ValueError, match="there is no loss 'triplet'"):
    dataclasses.replace(make_stage(2), losses={"sdm": 1.0, "triplet": 1.0})


@pytest.mark.parametrize(
  "changes",
  [
    {"epochs": 1, "batch_size": 1, "evaluate_every_epochs": 1, "learning_rate": 0.0, "weight_decay": 0.0},
    {"clip_norm": 0.0, "warmup_epochs": 0.0, "microbatch_size": 1, "batch_size": 2},
    *({"precision": precision} for precision in ("auto", "float32", "bfloat16")),
    *({"schedule_by": unit} for unit in ("step", "epoch")),
    # With one caption per identity or image there are no false negatives; fields of other sampler kinds are not read.
    {"losses": {"itc_plain": 1.0}, "sampler": {"kind": "captions", "captions_per_identity": 4}},
    {"losses": {"itc_plain": 1.0}, "sampler": {"kind": "identities", "captions_per_identity": 1}},
    {"losses": {"itc_plain": 1.0}, "sampler": {"kind": "images", "captions_per_image": 1, "captions_per_identity": 4}},
  ],
)
def test_valid_stages_do_not_raise(changes):
  make_stage(2, **changes)


def test_only_losses_with_a_nonzero_weight_are_active():
  losses = {"sdm": 1.0, "itc": 0.0, "itc_plain": 0.0, "cmpm": -0.5, "identity": 0.0}
  stage = make_stage(2, losses=losses)
  assert stage.active_losses == {"sdm": 1.0, "cmpm": -0.5}
  assert not stage.uses_identities
  assert make_stage(2, losses={**losses, "identity": 0.5}).uses_identities


@pytest.mark.parametrize(("kind", "count"), [("images", 3), ("identities", 1), ("captions", 1)])
def test_captions_are_grouped_by_image_only_if_the_sampler_draws_images(kind, count):
  stage = make_stage(2, batch_size=12, sampler={"kind": kind, "captions_per_image": 3})
  assert stage.captions_per_image == count


def test_a_path_does_not_match_a_prefix_of_a_name():
  with pytest.raises(ValueError) as error:
    make_stage(2, losses={"identity": 0.0, "itc": 1.0}, trains=("params/image",)).labels(VARIABLES)
  assert str(error.value) == (
    "stage2.trains names 'params/image', but the model has only params/id_head, params/image_encoder, "
    "params/logit_scale, params/text_encoder, prompts/image_encoder"
  )


def test_a_stage_that_names_only_a_frozen_temperature_raises():
  with pytest.raises(ValueError, match="leaves nothing to train"):
    make_stage(2, losses={"identity": 0.0, "itc": 1.0}, trains=("params/logit_scale",)).labels(VARIABLES)


def test_all_leaves_of_prompts_are_in_one_group():
  variables = {**VARIABLES, "prompts": {"image_encoder": {"tokens": jnp.ones(2), "bias": jnp.ones(2)}}}
  labels = make_stage(1).labels(variables)
  assert labels["prompts"] == {"image_encoder": {"tokens": "prompts", "bias": "prompts"}}
  assert set(jax.tree.leaves(labels["params"])) == {"frozen"}


def test_a_config_of_another_version_raises_an_error_that_names_the_differing_fields():
  config = toy.get_config()
  with config.unlocked():
    del config.stage2["sampler"]
    config.stage2.sampling = 1
  with pytest.raises(ValueError, match=r"stage2 has other fields than this version knows \(sampler, sampling\)"):
    stages.from_config(config, 2)
