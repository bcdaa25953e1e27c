import dataclasses

import chex
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from tests.models import forms
from tests.models.trees import SMALL, clip_tensors, open_clip_config, write_hf_clip, write_json
from tireid_jax.models import pretrained
from tireid_jax.models.clip import INITIAL_LOGIT_SCALE
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.models.weights import packaged
from tireid_jax.models.weights.tensor import Tensor

SQUARE = SMALL.native_image_size
TALL = (24, 8)

every_form = pytest.mark.parametrize("write", forms.FORMS, ids=lambda write: write.__name__.removeprefix("write_"))


def load(path, image_size=SQUARE, **options):
  """Returns (variant, params)."""
  model, variables = pretrained.load(path, image_size, **options)
  assert variables["prompts"] == {}
  assert model.image_size == image_size
  return model.variant, variables["params"]


def error_message(path, image_size=SQUARE, **options):
  """Returns the error message of loading, and checks that it is one line with the path."""
  with pytest.raises((ValueError, FileNotFoundError)) as error:
    pretrained.load(path, image_size, **options)
  assert "\n" not in str(error.value)
  assert str(path) in str(error.value)
  return str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name)
@every_form
def test_each_format_is_read_back_with_the_written_values(tmp_path, write, dtype):
  tensors = clip_tensors(SMALL, dtype=dtype)
  variant, params = load(tmp_path, **(write(tmp_path, tensors) or {}))
  assert variant == SMALL
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
  chex.assert_trees_all_equal(params, forms.own_params(tensors, SMALL))


@every_form
def test_weights_are_recognised_by_their_content_not_their_name(tmp_path, write):
  tensors = clip_tensors(SMALL)
  options = write(tmp_path, tensors, name="readme.txt") or {}
  variant, params = load(tmp_path, **options)
  assert variant == SMALL
  chex.assert_trees_all_equal(params, forms.own_params(tensors, SMALL))
  chex.assert_trees_all_equal(load(tmp_path / "readme.txt", **options)[1], params)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_error_for_non_finite_weights_names_the_tensor(tmp_path, value):
  tensors = clip_tensors(SMALL)
  name = "text_model.encoder.layers.1.mlp.fc1.bias"
  tensors[name][-1] = value
  options = forms.FORMS[0](tmp_path, tensors) or {}
  assert f"{name} contains non-finite values; download or copy the weights again" in error_message(tmp_path, **options)


def test_the_loaded_model_runs(tmp_path):
  write_hf_clip(tmp_path, SMALL)
  model, variables = pretrained.load(tmp_path, SQUARE)
  image, text = jax.jit(model.apply)(variables, np.ones((1, *SQUARE, 3), np.float32), np.array([[48, 7, 49]]))
  assert image.shape == text.shape == (1, 8)
  assert np.abs(image).min() > 0
  assert np.abs(text).min() > 0


def test_opening_reads_no_tensor_and_loading_reads_each_once(tmp_path, monkeypatch):
  write_hf_clip(tmp_path, SMALL)
  reads = []

  def counting(path):
    file = open_weights(path)
    tensors = {n: Tensor(t.shape, lambda n=n, t=t: reads.append(n) or t.read()) for n, t in file.tensors.items()}
    return dataclasses.replace(file, tensors=tensors)

  open_weights = pretrained.files.open_weights
  monkeypatch.setattr(pretrained.files, "open_weights", counting)
  assert pretrained.open_weights(tmp_path).variant == SMALL
  assert reads == []
  pretrained.load(tmp_path)
  assert sorted(reads) == sorted(clip_tensors(SMALL))


@pytest.mark.parametrize(
  "write", [forms.write_safetensors, forms.write_flax, forms.write_open_clip, forms.write_trainer]
)
def test_tensors_missing_unexpected_or_of_the_wrong_shape_are_listed(tmp_path, write):
  tensors = clip_tensors(SMALL)
  tensors["visual_projection.weight"] = np.zeros((9, 128), np.float32)
  tensors["vision_model.encoder.layers.3.mlp.fc1.bias"] = np.zeros(7, np.float32)
  del tensors["text_model.encoder.layers.1.mlp.fc2.bias"], tensors["vision_model.post_layernorm.weight"]
  options = {"variant": SMALL} if write(tmp_path, tensors) else {}
  assert error_message(tmp_path, **options).partition(" do not fit this model: ")[2].split("; ") == [
    "vision_model.post_layernorm.weight is missing",
    "visual_projection.weight has shape (9, 128), not (8, 128)",
    "text_model.encoder.layers.1.mlp.fc2.bias is missing",
    "vision_model.encoder.layers.3.mlp.fc1.bias is not part of this model",
  ]


def test_a_tensor_of_another_model_is_reported_by_its_name_in_the_file(tmp_path):
  tensors = {**forms.to_openai(clip_tensors(SMALL)), "logit_bias": np.zeros((), np.float32)}
  write_json(tmp_path / "open_clip_config.json", open_clip_config(SMALL))
  save_file(tensors, tmp_path / "a")
  assert error_message(tmp_path).endswith("do not fit this model: logit_bias is not part of this model")


def test_the_first_of_many_problems_are_listed_and_the_others_counted(tmp_path):
  write_hf_clip(
    tmp_path, SMALL, extra={f"text_model.unknown.{letter}": np.zeros(1, np.float32) for letter in "abcdefghijklmnop"}
  )
  line = error_message(tmp_path)
  assert line.count("is not part of this model") == 10
  assert line.endswith("unknown.j is not part of this model and 6 more")


@pytest.mark.parametrize("write", [forms.write_bare, forms.write_bare_hf, forms.write_trainer])
@pytest.mark.parametrize("options", [{}, {"num_heads": (2, 1)}, {"num_heads": (2, 0), "activation": "gelu"},
                                  {"num_heads": (0, 0), "activation": "gelu"}])  # fmt: skip
def test_the_error_for_a_bare_state_dict_lists_the_fields_to_set(tmp_path, write, options):
  write(tmp_path, clip_tensors(SMALL))
  line = error_message(tmp_path, **options)
  assert "has no config.json or open_clip_config.json in its folder" in line
  assert "--config.model.variant (one of tiny, small, ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336, ViT-H/14)" in line
  assert "--config.model.num_heads=(IMAGE,TEXT) and --config.model.activation=quick_gelu or gelu" in line


def test_a_bare_state_dict_gets_the_configured_variant_which_is_logged(tmp_path, capsys):
  forms.write_bare(tmp_path, clip_tensors(SMALL))
  configured = dataclasses.replace(SMALL, activation="gelu", layer_norm_eps=1e-6)
  variant, _ = load(tmp_path, variant=configured)
  assert variant == configured
  log = capsys.readouterr().err
  assert "has no config file; as configured, assuming 2 image heads, 1 text heads and gelu" in log
  variant, _ = load(tmp_path, variant=configured, num_heads=(4, 2), activation="quick_gelu")
  assert (variant.image.num_heads, variant.text.num_heads, variant.activation) == (4, 2, "quick_gelu")


@pytest.mark.parametrize("options", [{"variant": "ViT-B-16"}, {"position_resize": "nearest"}])
def test_an_unknown_name_raises_and_the_known_ones_are_listed(tmp_path, options):
  write_hf_clip(tmp_path, SMALL)
  with pytest.raises(ValueError) as error:
    load(tmp_path, **options)
  assert any(line in str(error.value) for line in ("one of tiny, small, ViT-B/32", "one of bilinear, bicubic"))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"activation": "gelu"}, "activation is quick_gelu, not gelu"),
    ({"num_heads": (4, 0)}, "image.num_heads is 2, not 4"),
    ({"num_heads": (0, 4)}, "text.num_heads is 1, not 4"),
    ({"variant": dataclasses.replace(SMALL, layer_norm_eps=1e-6)}, "layer_norm_eps is 1e-05, not 1e-06"),
    ({"variant": dataclasses.replace(SMALL, end_token=7)}, "end_token is 49, not 7"),
    ({"variant": "ViT-B/16"}, "image.width is 128, not 768"),
  ],
)
@pytest.mark.parametrize("write", [forms.write_safetensors, forms.write_open_clip, forms.write_openai])
def test_the_config_file_cannot_be_overridden(tmp_path, write, changes, message):
  write(tmp_path, clip_tensors(SMALL))
  line = error_message(tmp_path, **changes)
  assert message in line
  assert "set --config.model.variant=from_weights and leave model.num_heads and model.activation unset" in line


def test_the_configured_variant_may_have_another_native_image_size(tmp_path):
  write_hf_clip(tmp_path, SMALL)
  variant, _ = load(tmp_path, variant=dataclasses.replace(SMALL, native_image_size=TALL), num_heads=(2, 1))
  assert variant == SMALL


def test_heads_of_an_openai_archive_are_64_wide(tmp_path):
  other = dataclasses.replace(SMALL, image=Tower(192, 1, 3))
  forms.write_openai(tmp_path, clip_tensors(other))
  assert load(tmp_path)[0] == other
  forms.write_openai(tmp_path, clip_tensors(dataclasses.replace(SMALL, text=Tower(32, 1, 1))))
  assert error_message(tmp_path).endswith("0 heads do not divide a width of 32")


UNUSUAL = Variant(
  Tower(88, 1, 4, mlp_width=383), Tower(30, 2, 5, mlp_width=130), patch_size=3, embedding_size=5,
  native_image_size=(15, 15), activation="gelu", layer_norm_eps=1e-5, vocabulary_size=20, text_length=8, end_token=19,
)  # fmt: skip


@pytest.mark.parametrize("form", ["Hugging Face", "open_clip", "bare"])
def test_a_vit_of_any_sizes_loads(tmp_path, form):
  variant, options = UNUSUAL, {}
  if form == "Hugging Face":
    variant = dataclasses.replace(UNUSUAL, layer_norm_eps=1e-6, end_token=7)
    write_hf_clip(tmp_path, variant)
  elif form == "open_clip":
    # 4.36 x 88 = 383.68 and 4.36 x 30 = 130.8, rounded down as in open_clip.
    data = open_clip_config(UNUSUAL)
    data["model_cfg"]["vision_cfg"]["mlp_ratio"] = data["model_cfg"]["text_cfg"]["mlp_ratio"] = 4.36
    write_json(tmp_path / "open_clip_config.json", data)
    save_file(forms.to_openai(clip_tensors(UNUSUAL)), tmp_path / "open_clip_model.safetensors")
  else:
    save_file(clip_tensors(UNUSUAL), tmp_path / "a")
    options = {"num_heads": (4, 5), "activation": "gelu"}
  found, params = load(tmp_path, (15, 15), **options)
  assert found == variant
  chex.assert_trees_all_equal(params, forms.own_params(clip_tensors(UNUSUAL), UNUSUAL))


def without_scale(tensors):
  return {name: values for name, values in tensors.items() if name != "logit_scale"}


def test_heads_of_a_training_checkpoint_are_ignored_and_logged(tmp_path, capsys):
  forms.write_parallel_trainer(tmp_path, clip_tensors(SMALL))
  load(tmp_path, **forms.BARE)
  assert "best.pth: ignored 1 tensors that are not part of CLIP: module.classifier.weight\n" in capsys.readouterr().err


@pytest.mark.parametrize("top", ["my_model", "network.student"])
def test_weights_below_an_unknown_key_are_found_by_their_names(tmp_path, top):
  content = forms.to_openai(clip_tensors(SMALL))
  for key in reversed(top.split(".")):
    content = {key: content}
  forms.write_torch(tmp_path / "best.pth", {**content, "epoch": {"step": np.ones(1, np.float32)}})
  _, params = load(tmp_path, **forms.BARE)
  chex.assert_trees_all_equal(params, forms.own_params(clip_tensors(SMALL), SMALL))


def test_one_of_two_models_in_a_checkpoint_must_be_chosen(tmp_path):
  model, average = (clip_tensors(SMALL, seed=seed) for seed in (0, 1))
  content = {"model": forms.to_openai(model), "ema": forms.to_openai(average), "epoch": 3}
  forms.write_torch(tmp_path / "best.pth", content)
  message = "it has 2 CLIPs, with the prefixes ema. and model.; choose one by --config.pretrained_prefix"
  assert message in error_message(tmp_path, **forms.BARE)
  for prefix, tensors in (("model", model), ("ema", average)):
    _, params = load(tmp_path, prefix=prefix, **forms.BARE)
    chex.assert_trees_all_equal(params, forms.own_params(tensors, SMALL))


def test_heads_are_ignored_if_the_model_has_no_prefix(tmp_path, capsys):
  state = forms.to_openai(clip_tensors(SMALL))
  forms.write_torch(tmp_path / "best.pth", {"model": {**state, "classifier.weight": np.ones(3, np.float32)}})
  _, params = load(tmp_path, **forms.BARE)
  chex.assert_trees_all_equal(params, forms.own_params(clip_tensors(SMALL), SMALL))
  assert "best.pth: ignored 1 tensors that are not part of CLIP: classifier.weight\n" in capsys.readouterr().err


@pytest.mark.parametrize("has_head", [True, False])
def test_a_fine_tuned_model_without_a_logit_scale_gets_the_initial_one_which_is_logged(tmp_path, has_head, capsys):
  state = {f"base_model.{key}": values for key, values in forms.to_openai(without_scale(clip_tensors(SMALL))).items()}
  head = {"classifier.bias": np.ones(3, np.float32)} if has_head else {}
  forms.write_torch(tmp_path / "best.pth", {"model": {**state, **head}})
  _, params = load(tmp_path, **forms.BARE)
  assert params["logit_scale"] == np.float32(INITIAL_LOGIT_SCALE)
  log = capsys.readouterr().err
  assert "best.pth: no logit scale, using the initial value 2.6593\n" in log
  assert ("ignored 1 tensors" in log) == has_head


@pytest.mark.parametrize("write", [forms.write_safetensors, forms.write_bare, forms.write_openai])
def test_a_published_model_without_a_logit_scale_raises(tmp_path, write):
  options = write(tmp_path, without_scale(clip_tensors(SMALL))) or {}
  assert error_message(tmp_path, **options).endswith("do not fit this model: logit_scale is missing")


@every_form
def test_a_logit_scale_of_shape_1_is_made_a_scalar_which_is_logged(tmp_path, write, capsys):
  options = write(tmp_path, {**clip_tensors(SMALL), "logit_scale": np.array([3.5], np.float32)}) or {}
  _, params = load(tmp_path, **options)
  assert params["logit_scale"].shape == ()
  assert params["logit_scale"] == 3.5
  assert "reshaped the logit scale from (1,) to a scalar\n" in capsys.readouterr().err


def test_loading_a_model_that_fits_logs_nothing(tmp_path, capsys):
  write_hf_clip(tmp_path, SMALL)
  load(tmp_path)
  assert capsys.readouterr().err == ""


def test_packaged_weights_are_read_by_name_unless_a_path_has_it(tmp_path, monkeypatch):
  monkeypatch.setattr(packaged, "FOLDER", tmp_path / "packaged")
  write_hf_clip(tmp_path / "packaged" / "toy_clip", SMALL, seed=1)
  monkeypatch.chdir(tmp_path)
  _, params = load("toy_clip")
  chex.assert_trees_all_equal(params, forms.own_params(clip_tensors(SMALL, seed=1), SMALL))
  write_hf_clip(tmp_path / "toy_clip", SMALL, seed=2)
  _, params = load("toy_clip")
  chex.assert_trees_all_equal(params, forms.own_params(clip_tensors(SMALL, seed=2), SMALL))
  with pytest.raises(FileNotFoundError, match="there is no file or folder no_clip"):
    load("no_clip")


@pytest.mark.parametrize("name", packaged.FILES)
def test_a_file_that_the_package_lacks_is_named(tmp_path, monkeypatch, name):
  monkeypatch.setattr(packaged, "FOLDER", tmp_path)
  write_hf_clip(tmp_path / "toy_clip", SMALL)
  (tmp_path / "toy_clip" / name).unlink()
  with pytest.raises(FileNotFoundError, match=f"lacks .*/toy_clip/{name}; install the package again"):
    load("toy_clip")


def test_the_packaged_weights_are_a_16_bit_clip_of_at_most_10_megabytes_with_a_model_card():
  folder = packaged.find("toy_clip")
  assert {file.name for file in folder.iterdir()} == {"README.md", *packaged.FILES}
  assert sum(file.stat().st_size for file in folder.iterdir()) <= 10e6
  with safetensors.safe_open(folder / "model.safetensors", "np") as file:
    assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118  no mapping
  model, _ = pretrained.load("toy_clip", (96, 48), variant="small")
  assert model.image_size == (96, 48)
