import dataclasses
import pathlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.models import forms
from tests.models.trees import SMALL, clip_tensors, hf_config, open_clip_config, write_hf_clip, write_json
from tireid_jax.models import pretrained
from tireid_jax.models.weights.positions import resize_positions

TESTDATA = pathlib.Path(__file__).parents[2] / "testdata"
BICUBIC = np.load(TESTDATA / "positions" / "bicubic.npz")
TABLE = "vision_model.embeddings.position_embedding.weight"


@pytest.mark.parametrize(
  ("before", "after", "grid", "new"),
  [("before_14x14", "after_24x8", (14, 14), (24, 8)), ("before_7x7", "after_12x4", (7, 7), (12, 4))],
)
def test_bilinear_equals_the_reference_implementation(before, after, grid, new):
  golden = np.load(TESTDATA / "posembed.npz")
  np.testing.assert_allclose(resize_positions(golden[before], grid, new), golden[after], atol=2e-6)


@pytest.mark.parametrize("name", sorted({key.rpartition("_")[0] for key in BICUBIC.files}))
def test_bicubic_equals_torch_with_antialiasing(name):
  grid, new = ([int(size) for size in sizes.split("x")] for sizes in name.split("_"))
  resized = resize_positions(BICUBIC[f"{name}_before"], grid, new, "bicubic")
  np.testing.assert_allclose(resized, BICUBIC[f"{name}_after"], atol=2e-6)


def test_patches_are_interpolated_and_the_class_position_is_unchanged():
  # Two rows of three patches, with values 10 x row + column.
  table = np.array([[99], [0], [1], [2], [10], [11], [12]], np.float32)
  taller = resize_positions(table, (2, 3), (4, 3))
  np.testing.assert_allclose(taller[:, 0], [99, 0, 1, 2, 2.5, 3.5, 4.5, 7.5, 8.5, 9.5, 10, 11, 12], atol=1e-5)


def test_a_table_of_the_same_grid_is_unchanged():
  table = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
  np.testing.assert_array_equal(resize_positions(table, (2, 3), [2, 3], "bicubic"), table)


def test_a_table_that_does_not_match_its_grid_raises():
  with pytest.raises(ValueError, match="7 position embeddings do not match a class token and a grid of 3x3 patches"):
    resize_positions(np.zeros((7, 4), np.float32), (3, 3), (2, 2))


def load_table(path, image_size, **options):
  _, variables = pretrained.load(path, image_size, **options)
  return variables["params"]["image_encoder"]["position_embedding"]


def tensors_for_grid(rows, columns, **kwargs):
  """Returns the tensors of SMALL with position embeddings for that grid."""
  return clip_tensors(dataclasses.replace(SMALL, native_image_size=(4 * rows, 4 * columns)), **kwargs)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
  ("image_size", "stride", "grid"),
  [((24, 8), 0, (6, 2)), ((27, 11), 0, (6, 2)), ((16, 16), 2, (7, 7)), ((17, 11), 3, (5, 3)), ((8, 8), 0, (2, 2))],
)
def test_the_table_is_resized_to_the_image_size_and_stride_and_the_resize_is_logged(
  tmp_path, image_size, stride, grid, method, capsys
):
  table = write_hf_clip(tmp_path, SMALL)[TABLE]
  loaded = load_table(tmp_path, image_size, stride=stride, position_resize=method)
  np.testing.assert_array_equal(loaded, resize_positions(table, (4, 4), grid, method))
  note = f"resized the position embeddings from 4x4 to {grid[0]}x{grid[1]} patches ({method})\n"
  assert capsys.readouterr().err == f"{tmp_path / 'model.safetensors'}: {note}"


def test_bilinear_is_the_default(tmp_path):
  table = write_hf_clip(tmp_path, SMALL)[TABLE]
  np.testing.assert_array_equal(load_table(tmp_path, (8, 8)), resize_positions(table, (4, 4), (2, 2), "bilinear"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_table_in_half_precision_is_resized_in_float32(tmp_path, dtype):
  tensors = clip_tensors(SMALL, dtype=dtype)
  forms.write_openai(tmp_path, tensors)
  exact = resize_positions(tensors[TABLE].astype(np.float32), (4, 4), (6, 2))
  np.testing.assert_array_equal(load_table(tmp_path, (24, 8)), exact)


@pytest.mark.parametrize(
  ("write", "options"),
  [
    (forms.write_trainer, forms.BARE), (forms.write_trainer, {"variant": SMALL}), (forms.write_openai, {}),
    (forms.write_safetensors, {}),
  ],
)  # fmt: skip
def test_a_table_that_already_has_the_requested_grid_is_unchanged(tmp_path, write, options, capsys):
  tensors = tensors_for_grid(6, 2)
  write(tmp_path, tensors)
  np.testing.assert_array_equal(load_table(tmp_path, (24, 8), **options), tensors[TABLE])
  assert "resized" not in capsys.readouterr().err


def test_a_table_of_overlapping_patches_is_unchanged(tmp_path):
  tensors = tensors_for_grid(11, 3)  # for images of 24x8 pixels and a stride of 2
  forms.write_trainer(tmp_path, tensors)
  np.testing.assert_array_equal(load_table(tmp_path, (24, 8), stride=2, **forms.BARE), tensors[TABLE])


def test_a_config_may_have_an_image_size_that_is_not_square(tmp_path):
  tall = dataclasses.replace(SMALL, native_image_size=(24, 8))
  tensors = tensors_for_grid(6, 2)
  write_json(tmp_path / "open_clip_config.json", open_clip_config(tall))
  save_file(forms.to_openai(tensors), tmp_path / "a")
  np.testing.assert_array_equal(load_table(tmp_path, (8, 16)), resize_positions(tensors[TABLE], (6, 2), (2, 4)))
  (tmp_path / "open_clip_config.json").unlink()
  data = hf_config(SMALL)
  data["vision_config"]["image_size"] = [24, 8]
  write_json(tmp_path / "config.json", data)
  np.testing.assert_array_equal(load_table(tmp_path, (8, 16)), resize_positions(tensors[TABLE], (6, 2), (2, 4)))


@pytest.mark.parametrize("write", [forms.write_safetensors, forms.write_trainer, forms.write_openai])
@pytest.mark.parametrize("rows", [12, 14])
def test_a_table_that_matches_neither_grid_raises(tmp_path, write, rows):
  tensors = {**clip_tensors(SMALL), TABLE: np.zeros((rows, 128), np.float32)}
  options = write(tmp_path, tensors) or {}
  with pytest.raises(ValueError) as error:
    pretrained.load(tmp_path, (24, 8), **options)
  assert str(error.value).endswith(f"do not fit this model: {TABLE} has shape ({rows}, 128), not (13, 128)")


@pytest.mark.parametrize("stride", [5, -1])
def test_a_stride_beyond_the_patch_size_raises(tmp_path, stride):
  write_hf_clip(tmp_path, SMALL)
  line = f"model.stride is {stride}; it must be 0 .patches side by side. or from 1 to the patch size, 4 pixels"
  with pytest.raises(ValueError, match=line):
    pretrained.load(tmp_path, (16, 16), stride=stride)


def test_a_bare_table_that_fits_two_grids_raises(tmp_path):
  tensors = tensors_for_grid(8, 2)
  forms.write_trainer(tmp_path, tensors)
  with pytest.raises(
    ValueError, match="its position embeddings fit a grid of 4x4 or 8x2 patches; set --config.model.variant"
  ):
    load_table(tmp_path, (32, 8), **forms.BARE)
  other = dataclasses.replace(SMALL, native_image_size=(20, 20))
  np.testing.assert_array_equal(load_table(tmp_path, (32, 8), variant=other), tensors[TABLE])
