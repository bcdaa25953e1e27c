import pathlib

import jax
import numpy as np
import pytest

from tests.models.trees import write_hf_clip
from tireid_jax.models import pretrained
from tireid_jax.models.variants import Tower, Variant

SMALL = Variant(Tower(16, 3, 2), Tower(12, 2, 2), patch_size=4, embedding_size=8, native_image_size=(16, 16))
POSITIONS = pathlib.Path(__file__).parent.parent / "testdata" / "posembed.npz"


def test_a_hugging_face_folder_gives_the_model_it_describes(tmp_path):
  tensors = write_hf_clip(tmp_path, SMALL)
  model, variables = pretrained.load(tmp_path, image_size=(16, 16))
  assert model.variant == SMALL
  blocks = variables["params"]["image_encoder"]["transformer"]["blocks"]
  stored = tensors["vision_model.encoder.layers.2.self_attn.v_proj.weight"]
  np.testing.assert_array_equal(blocks["attn"]["value"]["kernel"][2], stored.T)
  image, text = jax.jit(model.apply)(variables, np.zeros((1, 16, 16, 3), np.float32), np.array([[49406, 7, 49407]]))
  assert image.shape == text.shape == (1, 8)


def test_every_stored_element_arrives(tmp_path):
  tensors = write_hf_clip(tmp_path, SMALL)
  _, variables = pretrained.load(tmp_path, image_size=(16, 16))
  arrived = np.sort(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables["params"])]))
  stored = np.sort(np.concatenate([np.ravel(tensor) for tensor in tensors.values()]))
  np.testing.assert_array_equal(arrived, stored)


@pytest.mark.parametrize(("before", "after", "grid", "new"), [
  ("before_14x14", "after_24x8", (14, 14), (24, 8)), ("before_7x7", "after_12x4", (7, 7), (12, 4)),
])  # fmt: skip
def test_position_tables_are_resized_as_the_reference_does(before, after, grid, new):
  golden = np.load(POSITIONS)
  np.testing.assert_allclose(pretrained.resize_positions(golden[before], grid, new), golden[after], atol=2e-6)


def test_the_position_table_follows_the_image_size(tmp_path):
  write_hf_clip(tmp_path, SMALL)
  _, variables = pretrained.load(tmp_path, image_size=(24, 8))
  assert variables["params"]["image_encoder"]["position_embedding"].shape == (1 + 6 * 2, 16)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"drop": ("visual_projection.weight",)}, "visual_projection.weight is missing"),
    ({"extra": {"odd": np.zeros(3, np.float32)}}, "odd is not part of this model"),
    ({"extra": {"text_projection.weight": np.zeros((9, 12), np.float32)}}, "text_projection.weight has shape (12, 9)"),
  ],
)
def test_a_tensor_missing_left_over_or_misshapen_is_named(tmp_path, change, message):
  write_hf_clip(tmp_path, SMALL, **change)
  with pytest.raises(ValueError) as error:
    pretrained.load(tmp_path, image_size=(16, 16))
  assert message in str(error.value)


def test_a_folder_without_weights_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"holds no config.json; give the folder of a Hugging Face CLIP model"):
    pretrained.load(tmp_path)
