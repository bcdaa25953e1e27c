"""CLIP's structure: prompts, depth, scanned and unrolled blocks. `parity_test.py` compares it with transformers."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.execution import Execution
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import Tower, Variant

SMALL = Variant(Tower(16, 3, 2), Tower(12, 2, 2), patch_size=4, embedding_size=8, native_image_size=(8, 8))
SIZE = (16, 8)


def small(prompts=PromptSpec(), **execution):
  return CLIP(SMALL, SIZE, prompts, Execution(**execution))


@functools.partial(jax.jit, static_argnames=("model", "method"))
def run(model, variables, *inputs, method="__call__", key=None, **indices):
  return model.apply(variables, *inputs, method=method, rngs={"dropout": key} if indices else {}, **indices)


@functools.partial(jax.jit, static_argnums=0)
def init(model):
  return init_variables(model, jax.random.key(0))


@pytest.fixture
def inputs():
  images = jax.random.normal(jax.random.key(1), (3, *SIZE, 3))
  tokens = jnp.array([[49406, 5, 6, 7, 49407, 0], [49406, 8, 49407, 0, 0, 0], [49406, 9, 9, 9, 9, 49407]])
  return images, tokens


@pytest.mark.parametrize(
  ("encoder", "name", "expected"),
  [
    ("text_encoder", "token_embedding/embedding", 0.02),
    ("text_encoder", "position_embedding", 0.01),
    ("image_encoder", "position_embedding", 16**-0.5),
    ("image_encoder", "class_embedding", 16**-0.5),
  ],
)
def test_embeddings_have_the_initial_standard_deviations_of_openais_model(encoder, name, expected):
  weights = init(small())["params"][encoder]
  for part in name.split("/"):
    weights = weights[part]
  assert 0.6 * expected < np.std(weights) < 1.4 * expected


@pytest.mark.parametrize(
  ("method", "inputs", "message"),
  [
    ("encode_image", jnp.zeros((2, 8, 16, 3)), r"takes \[B, 16, 8, 3\], got \(2, 8, 16, 3\)"),
    ("encode_text", jnp.zeros((2, 78), jnp.int32), r"at most 77 tokens, got \(2, 78\)"),
  ],
)
def test_inputs_of_the_wrong_size_raise(method, inputs, message):
  model = small()
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: model.apply(init(model), inputs, method=method))
  valid = jnp.zeros((2, 77), jnp.int32) if method == "encode_text" else jnp.zeros((2, *SIZE, 3))
  assert jax.eval_shape(lambda: model.apply(init(model), valid, method=method)).shape == (2, 8)


def test_a_model_of_short_captions_can_be_initialised():
  variant = dataclasses.replace(SMALL, text_length=4)
  shapes = jax.eval_shape(lambda: init_variables(CLIP(variant, SIZE), jax.random.key(0)))
  assert shapes["params"]["text_encoder"]["position_embedding"].shape == (4, 12)


def test_prompts_are_a_separate_collection_with_tokens_for_each_encoder():
  variables = init(small(PromptSpec(image_length=4, text_length=2, depth=2)))
  assert set(variables["params"]) == {"image_encoder", "text_encoder", "logit_scale"}
  shapes = jax.tree.map(jnp.shape, variables["prompts"])
  assert shapes == {"image_encoder": {"tokens": (2, 4, 16)}, "text_encoder": {"tokens": (2, 2, 12)}}


def test_prompts_of_length_0_are_bit_equal_to_plain_clip(inputs):
  plain = small()
  variables = init(plain)
  without = small(PromptSpec(image_length=0, text_length=0, depth=2))
  chex.assert_trees_all_equal(run(plain, variables, *inputs), run(without, variables, *inputs))


@pytest.mark.parametrize("only", ["image", "text"])
def test_prompts_of_one_encoder_leave_the_other_bit_equal(inputs, only):
  plain, prompted = small(), small(PromptSpec(**{f"{only}_length": 3}, depth=2))
  variables = init(prompted)
  image, text = run(prompted, variables, *inputs)
  plain_image, plain_text = run(plain, {"params": variables["params"]}, *inputs)
  assert np.array_equal(image, plain_image) == (only == "text")
  assert np.array_equal(text, plain_text) == (only == "image")


@pytest.mark.parametrize("prompts", [PromptSpec(), PromptSpec(3, 2, depth=1), PromptSpec(3, 2, depth=2)])
def test_unrolled_blocks_equal_scanned_blocks(inputs, prompts):
  variables = init(small(prompts))
  scanned = run(small(prompts), variables, *inputs)
  unrolled = run(small(prompts, scan_blocks=False), variables, *inputs)
  chex.assert_trees_all_close(scanned, unrolled, atol=2e-6)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(inputs, remat):
  prompts = PromptSpec(2, 2, depth=2)
  variables = init(small(prompts))

  def loss(model):
    return jax.jit(jax.grad(lambda v: sum(jnp.sum(e**2) for e in model.apply(v, *inputs))))(variables)

  chex.assert_trees_all_close(loss(small(prompts)), loss(small(prompts, remat=remat)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_under_scan_takes_less_memory(inputs, remat):
  deep = Variant(Tower(16, 8, 2), Tower(16, 8, 2), patch_size=4, embedding_size=8)

  def temporaries(remat):
    model = CLIP(deep, SIZE, execution=Execution(remat=remat))
    variables = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
    gradient = jax.grad(lambda v: sum(jnp.sum(e**2) for e in model.apply(v, *inputs)))
    return jax.jit(gradient).lower(variables).compile().memory_analysis().temp_size_in_bytes

  assert temporaries(remat) < 0.7 * temporaries("none")


def test_every_prompt_token_of_every_prompted_block_has_a_gradient(inputs):
  model = small(PromptSpec(3, 2, depth=2))
  variables = init(model)
  gradients = jax.jit(
    jax.grad(lambda prompts: sum(jnp.sum(e**2) for e in model.apply({**variables, "prompts": prompts}, *inputs)))
  )(variables["prompts"])
  for leaf in jax.tree.leaves(gradients):
    assert (np.abs(leaf).max(axis=-1) > 0).all()


def test_deep_prompts_replace_the_outputs_of_the_previous_prompts(inputs):
  """With depth 1, block 2 gets block 1's outputs at the prompt positions; with depth 2, it gets prompts of its own."""
  shallow, deep = small(PromptSpec(3, 2, depth=1)), small(PromptSpec(3, 2, depth=2))
  variables = init(deep)
  first = jax.tree.map(lambda tokens: tokens[:1], variables["prompts"])
  image, _ = run(shallow, {"params": variables["params"], "prompts": first}, *inputs)
  deep_image, _ = run(deep, variables, *inputs)
  assert np.abs(image - deep_image).max() > 1e-4


def test_text_features_do_not_depend_on_padding(inputs):
  model = small(PromptSpec(2, 2, depth=2))
  variables = init(model)
  _, tokens = inputs
  short = run(model, variables, tokens, method="encode_text")
  padded = run(model, variables, jnp.pad(tokens, ((0, 0), (0, 71))), method="encode_text")
  np.testing.assert_allclose(short, padded, atol=2e-6)


def test_text_is_pooled_at_the_first_end_token(inputs):
  model = small()
  variables = init(model)
  ended = jnp.array([[49406, 5, 49407, 0, 0]])
  noise = jnp.array([[49406, 5, 49407, 8, 49407]])
  encode = lambda tokens: run(model, variables, tokens, method="encode_text")  # noqa: E731
  np.testing.assert_allclose(encode(ended), encode(noise), atol=2e-6)
  assert np.abs(encode(ended) - encode(jnp.array([[49406, 6, 49407, 0, 0]]))).max() > 1e-3


def test_prompt_dropout_applies_only_in_training(inputs):
  model = small(PromptSpec(3, 2, depth=2, dropout=0.5))
  variables = init(model)
  deterministic = run(model, variables, *inputs)
  chex.assert_trees_all_equal(deterministic, run(small(PromptSpec(3, 2, depth=2)), variables, *inputs))
  indices = {"image_indices": jnp.arange(3), "text_indices": jnp.arange(3)}
  dropped = run(model, variables, *inputs, key=jax.random.key(3), **indices)
  assert np.abs(dropped[0] - deterministic[0]).max() > 1e-5


def test_bfloat16_compute_keeps_float32_weights_and_outputs(inputs):
  model = small(PromptSpec(2, 2, depth=2), dtype=jnp.bfloat16)
  variables = init(model)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  exact = run(small(PromptSpec(2, 2, depth=2)), variables, *inputs)
  for found, expected in zip(run(model, variables, *inputs), exact, strict=True):
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_prompt_dropout_of_an_example_depends_on_its_index_in_the_whole_batch(inputs):
  """Encodes examples 2 and 0 of a batch separately."""
  model = small(PromptSpec(3, 2, depth=2, dropout=0.5))
  variables, key = init(model), jax.random.key(3)
  images, tokens = inputs
  indices = {"image_indices": jnp.arange(3), "text_indices": jnp.arange(3)}
  whole = run(model, variables, images, tokens, key=key, **indices)
  subset = jnp.array([2, 0])
  indices = {"image_indices": subset, "text_indices": subset}
  part = run(model, variables, images[subset], tokens[subset], key=key, **indices)
  for all_embeddings, some in zip(whole, part, strict=True):
    np.testing.assert_allclose(all_embeddings[subset], some, atol=2e-6)


@pytest.mark.parametrize(
  ("prompts", "message"),
  [
    (PromptSpec(-1, 2), "prompts.image_length is -1"),
    (PromptSpec(4, 4, depth=3), "prompts.depth is 3, but the encoders have 3 (image) and 2 (text) blocks"),
    (PromptSpec(4, 0, depth=0), "prompts.depth is 0"),
    (PromptSpec(4, 4, dropout=1.0), "prompts.dropout is 1.0"),
  ],
)
def test_invalid_prompts_raise(prompts, message):
  with pytest.raises(ValueError) as error:
    init(small(prompts))
  assert message in str(error.value)


def test_an_unknown_activation_raises():
  unsupported = Variant(SMALL.image, SMALL.text, 4, 8, activation="relu")
  with pytest.raises(ValueError, match="activation is 'relu'; it must be one of quick_gelu, gelu"):
    init(CLIP(unsupported, SIZE))
