"""Compares the prompted encoders with NumPy (numpy_clip.py); tests prompt dropout and the limits of prompt depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import numpy_clip
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.execution import Execution
from tireid_jax.models.prompts import PromptSpec, declare_prompts
from tireid_jax.models.variants import Tower, Variant

# All sizes differ, and eps is large enough to affect the outputs.
VARIANT = Variant(
  Tower(12, 3, 3), Tower(8, 2, 2, mlp_width=20), patch_size=3, embedding_size=5, layer_norm_eps=1e-2,
  vocabulary_size=30, text_length=11, end_token=29,
)  # fmt: skip
# Not a multiple of the patch size: pixels at the right and lower edges are ignored.
SIZE = (10, 8)
IMAGES = np.random.default_rng(1).normal(size=(2, *SIZE, 3)).astype(np.float32)
TOKENS = np.array([[28, 5, 6, 29, 29, 0], [28, 7, 1, 2, 3, 29]])


def random_variables(spec, variant=VARIANT):
  """Returns random variables; none is 0 or 1, unlike initial biases and scales."""
  shapes = jax.eval_shape(lambda: init_variables(CLIP(variant, SIZE, spec), jax.random.key(0)))
  rng = np.random.default_rng(3)
  return jax.tree.map(lambda leaf: rng.normal(0.1, 0.4, leaf.shape).astype(np.float32), shapes)


def encode_with_numpy(variables, spec, variant=VARIANT):
  image, text = (
    np.stack([encode(variables, one, variant=variant, prompts=length > 0) for one in inputs])
    for encode, inputs, length in (
      (numpy_clip.encode_image, IMAGES, spec.image_length),
      (numpy_clip.encode_text, TOKENS, spec.text_length),
    )
  )
  return image, text


def assert_equals_numpy(spec, variant=VARIANT, **execution):
  variables = random_variables(spec, variant)
  ours = jax.jit(CLIP(variant, SIZE, spec, Execution(**execution)).apply)(variables, IMAGES, TOKENS)
  for found, expected in zip(ours, encode_with_numpy(variables, spec, variant), strict=True):
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("spec", [PromptSpec(), PromptSpec(3, 2, depth=1), PromptSpec(3, 2, depth=2),
                                  PromptSpec(2, 0, depth=3)])  # fmt: skip
def test_embeddings_equal_those_of_numpy(spec):
  assert_equals_numpy(spec)


def test_embeddings_with_unrolled_blocks_and_exact_gelu_equal_those_of_numpy():
  assert_equals_numpy(PromptSpec(3, 2, depth=1), Variant(**{**vars(VARIANT), "activation": "gelu"}), scan_blocks=False)


def test_gradients_of_the_prompts_equal_finite_differences_in_numpy():
  spec = PromptSpec(3, 2, depth=2)  # the image encoder has one block more than the depth of the prompts
  variables = random_variables(spec)
  model, weights = CLIP(VARIANT, SIZE, spec), np.random.default_rng(5).normal(size=(2, 2, 5)).astype(np.float32)

  def total(embeddings):
    return sum((w * e).sum() for w, e in zip(np.asarray(weights, np.float64), embeddings, strict=True))

  gradients = jax.jit(
    jax.grad(
      lambda prompts: sum(
        jnp.vdot(w, e)
        for w, e in zip(weights, model.apply({**variables, "prompts": prompts}, IMAGES, TOKENS), strict=True)
      )
    )
  )(variables["prompts"])
  rng = np.random.default_rng(0)
  for _ in range(3):
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), variables["prompts"])
    shifted = [
      jax.tree.map(lambda leaf, d, sign=sign: np.float64(leaf) + sign * 1e-5 * d, variables["prompts"], direction)
      for sign in (1, -1)
    ]
    up, down = (total(encode_with_numpy({**variables, "prompts": prompts}, spec)) for prompts in shifted)
    expected = (up - down) / 2e-5
    found = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(found, expected, rtol=2e-3)


class Holder(nn.Module):
  """A module with prompts only."""

  spec: PromptSpec

  @nn.compact
  def __call__(self, indices=None):
    return declare_prompts(self, self.spec, 3, 40, 4, indices)


def apply_dropout(spec, indices):
  holder = Holder(spec)
  variables = holder.init({"prompts": jax.random.key(0)})
  return variables, holder.apply(variables, indices, rngs={"dropout": jax.random.key(1)})


def test_dropout_zeroes_a_fraction_of_the_elements_and_scales_the_others_up():
  variables, tokens = apply_dropout(PromptSpec(3, 3, depth=2, dropout=0.25), jnp.arange(4))
  is_kept = np.asarray(tokens != 0)  # [depth, B, P, D]
  assert 0.7 < is_kept.mean() < 0.8
  whole = np.broadcast_to(np.asarray(variables["prompts"]["tokens"])[:, None], tokens.shape)
  np.testing.assert_allclose(tokens, np.where(is_kept, whole / 0.75, 0), rtol=1e-6)
  masks = is_kept.reshape(8, -1)  # one for each block and example
  assert len(np.unique(masks, axis=0)) == 8


def test_without_indices_or_dropout_every_example_gets_unchanged_prompts():
  for spec, indices in ((PromptSpec(3, 3, depth=2, dropout=0.25), None), (PromptSpec(3, 3, depth=2), jnp.arange(4))):
    variables, tokens = apply_dropout(spec, indices)
    np.testing.assert_array_equal(tokens, np.repeat(variables["prompts"]["tokens"][:, None], 4, axis=1))


def test_prompts_are_initialised_with_the_configured_standard_deviation():
  tokens = Holder(PromptSpec(3, 3, depth=2, init_std=0.5)).init({"prompts": jax.random.key(0)})["prompts"]["tokens"]
  assert 0.4 < tokens.std() < 0.6
  assert abs(tokens.mean()) < 0.15


def test_sequences_are_longer_by_each_encoders_prompts():
  assert PromptSpec(3, 2).sequence_lengths(10, 20) == (13, 22)
  assert PromptSpec().sequence_lengths(10, 20) == (10, 20)


def test_the_default_spec_has_no_prompts_and_the_published_standard_deviation():
  spec = PromptSpec()
  assert (spec.image_length, spec.text_length, spec.depth, spec.init_std, spec.dropout) == (0, 0, 1, 0.02, 0.0)


@pytest.mark.parametrize(
  "spec",
  [
    PromptSpec(4, 4, depth=2), PromptSpec(4, 0, depth=3), PromptSpec(0, 4, depth=1), PromptSpec(0, 0, depth=9),
    PromptSpec(4, 4, dropout=0.99), PromptSpec(1, 1),
  ],
)  # fmt: skip
def test_prompts_may_be_as_deep_as_the_shallowest_prompted_encoder(spec):
  spec.check(3, 2)


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    (PromptSpec(4, 0, depth=4), r"prompts.depth is 4, .* to 1\.\.3"),
    (PromptSpec(0, 4, depth=3), r"prompts.depth is 3, .* to 1\.\.2"),
    (PromptSpec(4, 4, depth=0), r"prompts.depth is 0, .* to 1\.\.2"),
    (PromptSpec(4, -1), "prompts.text_length is -1; it must be 0"),
    (PromptSpec(-1, 4), "prompts.image_length is -1; it must be 0"),
    (PromptSpec(4, 4, dropout=-0.1), "prompts.dropout is -0.1"),
    (PromptSpec(4, 4, dropout=1.0), "prompts.dropout is 1.0"),
    (PromptSpec(4, 4, placement="end"), "prompts.placement is 'end'; it must be one of deep"),
  ],
)
def test_invalid_prompts_raise(spec, message):
  with pytest.raises(ValueError, match=message):
    spec.check(3, 2)
