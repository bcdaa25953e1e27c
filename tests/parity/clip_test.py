"""Compares CLIP with transformers' CLIPModel on random weights, saved by transformers and read by `pretrained.load`."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.models import parity
from tests.models.parity import STORED
from tests.parity import reference
from tests.testdata.positions.make import resize
from tireid_jax.models import pretrained
from tireid_jax.models.execution import Execution
from tireid_jax.models.variants import VARIANTS, Tower, Variant, patch_grid

TABLE = "vision_model.embeddings.position_embedding.weight"
SEEDS = range(3)

# Name: (variant, end token in the config). OpenAI's folders have 2 there, which means the highest id.
CASES = {
  "heads of 64": (
    Variant(
      Tower(128, 2, 2), Tower(64, 2, 1), patch_size=4, embedding_size=40, native_image_size=(16, 16),
      vocabulary_size=60, end_token=59,
    ), 2,
  ),
  "heads of 80, pixels left over": (
    Variant(
      Tower(160, 2, 2, mlp_width=200), Tower(48, 3, 2), patch_size=6, embedding_size=24, native_image_size=(26, 26),
      layer_norm_eps=1e-6, vocabulary_size=60, text_length=20, end_token=59,
    ), 59,
  ),
  "eps 0.001, end token 30": (STORED["gelu"], 30),
}  # fmt: skip

every_seed = pytest.mark.parametrize("seed", SEEDS)


def save_and_load(folder, variant, seed, end_token=None):
  """Returns (CLIPModel, model, variables): transformers' model, and ours as read from its saved folder."""
  theirs = reference.clip_model(variant, parity.random_tensors(variant, seed), end_token=end_token)
  theirs.save_pretrained(folder)
  model, variables = pretrained.load(folder, variant.native_image_size)
  assert model.variant == variant
  assert variables["params"]["logit_scale"] == theirs.logit_scale.item()
  return theirs, model, variables


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@every_seed
def test_hidden_states_and_embeddings_equal_those_of_transformers(tmp_path, case, activation, seed):
  variant, end_token = CASES[case]
  theirs, *ours = save_and_load(tmp_path, dataclasses.replace(variant, activation=activation), seed, end_token)
  inputs = parity.random_inputs(variant, seed)
  assert parity.broken(parity.outputs(*ours, *inputs), reference.outputs(theirs, *inputs)) == set()


@pytest.mark.parametrize("name", STORED)
@every_seed
def test_outputs_of_unrolled_blocks_equal_those_of_transformers(tmp_path, name, seed):
  theirs, model, variables = save_and_load(tmp_path, STORED[name], seed)
  inputs = parity.random_inputs(model.variant, seed)
  found = parity.outputs(model.clone(execution=Execution(scan_blocks=False)), variables, *inputs)
  assert parity.broken(found, reference.outputs(theirs, *inputs)) == set()


@pytest.mark.parametrize("form", ["pytorch_model.bin", "shards"])
def test_other_file_formats_of_torch_and_transformers_give_the_same_model(tmp_path, form):
  variant = STORED["quick_gelu"]
  theirs = reference.clip_model(variant, parity.random_tensors(variant, 3))
  if form == "shards":
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
  else:
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / form)
  ours = pretrained.load(tmp_path, variant.native_image_size)
  inputs = parity.random_inputs(variant, 3)
  assert parity.broken(parity.outputs(*ours, *inputs), reference.outputs(theirs, *inputs)) == set()


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("mistake", parity.MISTAKES)
@every_seed
def test_a_mistake_breaks_exactly_the_outputs_that_it_affects(tmp_path, name, mistake, seed):
  theirs, *ours = save_and_load(tmp_path, STORED[name], seed)
  inputs = parity.random_inputs(STORED[name], seed)
  mistake = parity.MISTAKES[mistake]
  assert parity.broken(mistake.make(*ours, *inputs), reference.outputs(theirs, *inputs)) == mistake.breaks


def padded(tokens, length, padding):
  """Returns the tokens padded to a length with the token `padding`, which also replaces existing padding."""
  extended = np.pad(tokens, [(0, 0), (0, length - tokens.shape[1])])
  return np.where(extended == 0, padding, extended).astype(np.int32)


# transformers' tokenizer pads with the end token, OpenAI's with zeros.
@pytest.mark.parametrize("padding", ["end token", "zeros"])
@pytest.mark.parametrize("end_token", [2, None])
@pytest.mark.parametrize(("theirs_length", "ours_length"), [(12, 77), (77, 12), (40, 23)])
def test_the_text_embedding_does_not_depend_on_the_length_of_padding(
  tmp_path, padding, end_token, theirs_length, ours_length
):
  variant = STORED["quick_gelu"]
  theirs, model, variables = save_and_load(tmp_path, variant, 0, end_token)
  images, tokens = parity.random_inputs(variant, 0)
  padding_token = variant.end_token if padding == "end token" else 0
  expected = reference.outputs(theirs, images, padded(tokens, theirs_length, padding_token))
  for ours_padding_token in (padding_token, 0):
    found = parity.encode_text(model, variables, padded(tokens, ours_length, ours_padding_token))
    assert parity.broken({"text": found}, {"text": expected["text"]}) == set()


OTHER_METHOD = {"bilinear": "bicubic", "bicubic": "bilinear"}


def resized_table(theirs, variant, image_size, method):
  """Returns the model's position embeddings resized by torch as in IRRA (bilinear) or open_clip (bicubic)."""
  table = theirs.state_dict()[TABLE].numpy()
  grids = (patch_grid(size, variant.patch_size) for size in (variant.native_image_size, image_size))
  return resize(table, *grids, mode=method, antialias=method == "bicubic")


# Both larger and smaller grids along each dimension than the 4x4 patches of the weights.
@pytest.mark.parametrize("image_size", [(56, 16), (16, 24)])
@pytest.mark.parametrize("method", OTHER_METHOD)
def test_outputs_at_other_image_sizes_equal_those_with_positions_resized_by_torch(tmp_path, image_size, method):
  theirs, _, _ = save_and_load(tmp_path, STORED["quick_gelu"], 0)
  images, tokens = inputs = parity.random_inputs(STORED["quick_gelu"], 0, image_size=image_size)
  table = resized_table(theirs, STORED["quick_gelu"], image_size, method)
  expected = reference.outputs(theirs, images, tokens, positions=table)
  ours = pretrained.load(tmp_path, image_size, position_resize=method)
  assert parity.broken(parity.outputs(*ours, *inputs), expected) == set()
  ours = pretrained.load(tmp_path, image_size, position_resize=OTHER_METHOD[method])
  assert parity.broken(parity.outputs(*ours, *inputs), expected) == parity.IMAGES


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """Returns (folder, CLIPModel) of the real ViT-B/16."""
  folder = tmp_path_factory.mktemp("base")
  variant = VARIANTS["ViT-B/16"]
  theirs = reference.clip_model(variant, parity.random_tensors(variant, 0), end_token=2)
  theirs.save_pretrained(folder)
  yield folder, theirs
  (folder / "model.safetensors").unlink()  # pytest would keep these 600 MB.


def base_outputs(base, image_size):
  """Returns (model, variables, images, tokens, expected outputs) of ViT-B/16 at that image size."""
  folder, theirs = base
  model, variables = pretrained.load(folder, image_size)
  assert model.variant == VARIANTS["ViT-B/16"]
  inputs = parity.random_inputs(model.variant, 0, batch_size=2, length=77, image_size=image_size)
  is_resized = image_size != model.variant.native_image_size
  table = resized_table(theirs, model.variant, image_size, "bilinear") if is_resized else None
  return model, variables, *inputs, reference.outputs(theirs, *inputs, positions=table)


def test_outputs_of_vit_b_16_equal_those_of_transformers_and_bfloat16_is_within_its_bound(base):
  model, *inputs, expected = base_outputs(base, (224, 224))
  assert parity.broken(parity.outputs(model, *inputs), expected) == set()
  bfloat16_distances = parity.distances(
    parity.outputs(model.clone(execution=Execution(jnp.bfloat16)), *inputs), expected
  )
  assert all(parity.BROKEN < distance < parity.BFLOAT16_BOUND for distance in bfloat16_distances.values()), (
    bfloat16_distances
  )


def test_outputs_of_vit_b_16_at_384x128_pixels_equal_those_of_transformers(base):
  *inputs, expected = base_outputs(base, (384, 128))
  assert parity.broken(parity.outputs(*inputs), expected) == set()
