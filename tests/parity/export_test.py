"""Exported folders are loaded by transformers' CLIPModel and compared with our own model."""

import dataclasses

import jax
import numpy as np
import pytest
import torch
from transformers import CLIPModel

from tests import exports
from tests.models.trees import SMALL
from tireid_jax import export
from tireid_jax.exporting import encoders
from tireid_jax.models.variants import Tower

# Relative to the largest absolute value of the outputs.
TOLERANCE = 2e-5


def compare(folder, model, variables):
  """Exports the model, loads it with transformers and compares both embeddings."""
  export.write_clip(folder, model, encoders.to_tensors(model, variables)[0])
  theirs, loading_info = CLIPModel.from_pretrained(folder, output_loading_info=True)
  assert not any(loading_info.values()), loading_info
  images = np.random.default_rng(4).standard_normal((2, *model.image_size, 3)).astype(np.float32)
  tokens = exports.tokens(4, model.variant)
  with torch.no_grad():
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    image = theirs.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output.numpy()
    text = theirs.get_text_features(torch.from_numpy(tokens).long()).pooler_output.numpy()
  ours = jax.jit(model.apply)(variables, images, tokens)
  for mine, other in zip(ours, (image, text), strict=True):
    np.testing.assert_allclose(other, mine, rtol=0, atol=TOLERANCE * np.abs(mine).max())
  return theirs


@pytest.mark.parametrize(
  ("size", "repeats"),
  [
    ((16, 16), (1, 1)),
    ((12, 4), (1, 3)),
    ((16, 4), (1, 4)),
    ((4, 12), (3, 1)),
    ((32, 16), (3, 6)),
    ((12, 8), (4, 6)),
    ((40, 32), (4, 5)),
    ((13, 6), (1, 3)),  # not multiples of the patch size
    ((17, 18), (1, 1)),
  ],
)
def test_clip_model_has_our_embeddings_for_any_grid(tmp_path, size, repeats):
  model, variables = exports.random_clip(size)
  grid = tuple(pixels // SMALL.patch_size for pixels in size)
  assert encoders.stored_grid(model) == tuple(patches * count for patches, count in zip(grid, repeats, strict=True))
  compare(tmp_path, model, variables)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_model_uses_every_setting_of_the_variant(tmp_path, activation):
  variant = dataclasses.replace(
    SMALL, image=Tower(48, 2, 3, mlp_width=80), text=Tower(32, 1, 4, mlp_width=40), activation=activation,
    layer_norm_eps=1e-3, end_token=30,
  )  # fmt: skip
  model, variables = exports.random_clip((12, 4), variant=variant)
  theirs = compare(tmp_path, model, variables)
  assert theirs.logit_scale.item() == variables["params"]["logit_scale"]


def test_two_copies_of_the_position_table_are_not_enough():
  # Why stored_grid chooses at least three: the support of torch's bicubic filter extends beyond two equal values.
  table = np.random.default_rng(0).standard_normal((1, 1, 3, 3)).astype(np.float32)
  for copies, is_exact in ((2, False), (3, True), (4, True), (5, True), (6, True)):
    repeated = torch.from_numpy(table.repeat(copies, axis=2).repeat(copies, axis=3))
    back = torch.nn.functional.interpolate(repeated, size=(3, 3), mode="bicubic", align_corners=False).numpy()
    assert (np.abs(back - table).max() < 1e-6) == is_exact
