import dataclasses

import pytest

from tests.models.trees import SMALL, clip_tensors, hf_config, open_clip_config, write_json
from tireid_jax.models.variants import VARIANTS, Tower
from tireid_jax.models.weights import settings
from tireid_jax.models.weights.tensor import Tensor

# The model sections of published config files.
PUBLISHED = {
  "ViT-B/32": {
    "model_type": "clip", "projection_dim": 512,
    "text_config": {"bos_token_id": 0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 512,
                    "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 12, "vocab_size": 49408},
    "text_config_dict": None,
    "vision_config": {"hidden_size": 768, "image_size": 224, "intermediate_size": 3072, "num_attention_heads": 12,
                      "num_hidden_layers": 12, "patch_size": 32},
    "vision_config_dict": None,
  },
  "ViT-B/16": {
    "projection_dim": 512,
    "text_config": {"eos_token_id": 2},
    "text_config_dict": None,
    "vision_config": {"dropout": 0.0, "patch_size": 16},
    "vision_config_dict": {"patch_size": 16},
  },
  "ViT-L/14@336": {
    "projection_dim": 768,
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768},
    "text_config_dict": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16,
                      "num_hidden_layers": 24, "patch_size": 14},
  },
  "ViT-H/14": {
    "projection_dim": 1024,
    "text_config": {},
    "text_config_dict": {"hidden_act": "gelu", "hidden_size": 1024, "intermediate_size": 4096,
                         "num_attention_heads": 16, "num_hidden_layers": 24},
    "vision_config": {},
    "vision_config_dict": {"hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120,
                           "num_attention_heads": 16, "num_hidden_layers": 32, "patch_size": 14},
  },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_hugging_face_configs_give_the_known_variants(name):
  assert settings.from_hugging_face(PUBLISHED[name]) == VARIANTS[name]


def open_clip(quick_gelu=None, embed_dim=512, vision=(), **text):
  """Returns a `model_cfg` in the format of open_clip."""
  data = {
    "embed_dim": embed_dim,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16, **dict(vision)},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, **text},
  }
  return data if quick_gelu is None else {**data, "quick_gelu": quick_gelu}


H14 = open_clip(
  None, 1024, {"layers": 32, "width": 1280, "head_width": 80, "patch_size": 14}, width=1024, heads=16, layers=24
)
G14 = open_clip(
  None, 1024, {"layers": 40, "width": 1408, "head_width": 88, "mlp_ratio": 4.3637, "patch_size": 14}, width=1024,
  heads=16, layers=24,
)  # fmt: skip
BIG_G14 = open_clip(
  None, 1280, {"layers": 48, "width": 1664, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14}, width=1280,
  heads=20, layers=32,
)  # fmt: skip
B16 = VARIANTS["ViT-B/16"]


@pytest.mark.parametrize(
  ("data", "variant"),
  [
    (open_clip(True), B16),
    (open_clip(False), dataclasses.replace(B16, activation="gelu")),
    (open_clip(), dataclasses.replace(B16, activation="gelu")),
    (H14, VARIANTS["ViT-H/14"]),
    (G14, dataclasses.replace(VARIANTS["ViT-H/14"], image=Tower(1408, 40, 16, 6144))),
    (BIG_G14, dataclasses.replace(VARIANTS["ViT-H/14"], image=Tower(1664, 48, 16, 8192), text=Tower(1280, 32, 20),
                                  embedding_size=1280)),
    (open_clip(True, vision={"image_size": [240, 120]}), dataclasses.replace(B16, native_image_size=(240, 120))),
    (open_clip(True, context_length=32, vocab_size=1000),
     dataclasses.replace(B16, text_length=32, vocabulary_size=1000, end_token=999)),
    (open_clip(True, vision={"global_average_pool": False, "ls_init_value": None, "patch_dropout": 0.0,
                             "pool_type": "tok"}, pool_type="argmax", embed_cls=False), B16),
    ({"embed_dim": 512, "quick_gelu": True, "vision_cfg": {}, "text_cfg": {}}, B16),
  ],
)  # fmt: skip
def test_open_clip_configs_give_sizes_and_activation(data, variant):
  assert settings.from_open_clip(data) == variant


def write(tmp_path, name, data):
  """Writes a config file and returns the path of a weight file in the same folder."""
  write_json(tmp_path / name, data)
  return tmp_path / "weights"


@pytest.mark.parametrize(
  "change",
  [
    {"activation": "gelu"}, {"layer_norm_eps": 1e-6}, {"end_token": 7}, {"vocabulary_size": 60}, {"text_length": 11},
    {"embedding_size": 5}, {"patch_size": 2}, {"native_image_size": (32, 32)}, {"image": Tower(128, 3, 8, 99)},
    {"text": Tower(64, 2, 4, 33)},
  ],
)  # fmt: skip
def test_every_field_is_read_from_a_hugging_face_config(tmp_path, change):
  variant = dataclasses.replace(SMALL, **change)
  assert settings.read_config(write(tmp_path, "config.json", hf_config(variant)), "Hugging Face") == variant


@pytest.mark.parametrize(
  "change",
  [
    {"activation": "gelu"}, {"vocabulary_size": 60, "end_token": 59}, {"text_length": 11}, {"embedding_size": 5},
    {"patch_size": 2}, {"native_image_size": (32, 8)}, {"image": Tower(128, 3, 8, 192)}, {"text": Tower(64, 2, 4, 32)},
  ],
)  # fmt: skip
def test_every_field_is_read_from_an_open_clip_config(tmp_path, change):
  variant = dataclasses.replace(SMALL, **change)
  assert settings.read_config(write(tmp_path, "open_clip_config.json", open_clip_config(variant)), "OpenAI") == variant


def test_the_wrong_end_token_of_old_configs_is_replaced_by_the_last_id(tmp_path):
  data = hf_config(SMALL)
  data["text_config"]["eos_token_id"] = 2
  assert settings.from_hugging_face(data) == SMALL


@pytest.mark.parametrize(("family", "activation"), [("Hugging Face", "quick_gelu"), ("Flax", "quick_gelu"),
                                                    ("OpenAI", "gelu")])  # fmt: skip
def test_the_config_of_the_same_family_as_the_weights_is_preferred(tmp_path, family, activation):
  write(tmp_path, "config.json", hf_config(SMALL))
  path = write(tmp_path, "open_clip_config.json", open_clip_config(dataclasses.replace(SMALL, activation="gelu")))
  assert settings.read_config(path, family).activation == activation


@pytest.mark.parametrize("family", ["Hugging Face", "OpenAI"])
def test_a_config_of_the_other_family_is_read_if_it_is_the_only_one(tmp_path, family):
  write(tmp_path, "config.json", {"architecture": "vit_base_patch16_clip_224", "num_classes": 512})  # timm's
  path = write(tmp_path, "open_clip_config.json", open_clip_config(SMALL))
  assert settings.read_config(path, family) == SMALL
  (tmp_path / "open_clip_config.json").unlink()
  write(tmp_path, "config.json", hf_config(SMALL))
  assert settings.read_config(path, family) == SMALL


@pytest.mark.parametrize("data", [None, {}, [], {"architecture": "vit"}, {"vision_config": {}}])
def test_without_the_config_of_a_clip_the_result_is_none(tmp_path, data):
  if data is not None:
    write(tmp_path, "config.json", data)
  assert settings.read_config(tmp_path / "weights", "Hugging Face") is None


def error_message(tmp_path, name, data):
  """Returns the error message after the path of the config, and checks that it is one line."""
  path = tmp_path / name
  path.write_text(data) if isinstance(data, str) else write_json(path, data)
  with pytest.raises(ValueError) as error:
    settings.read_config(tmp_path / "weights", "Hugging Face")
  assert "\n" not in str(error.value)
  assert str(error.value).startswith(str(path))
  return str(error.value).removeprefix(str(path))


UNSUPPORTED = "is not supported; only a plain CLIP with a vision transformer is"


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (open_clip(vision={"timm_model_name": "vit_base_patch16_siglip_224"}), "timm_model_name='vit_base"),
    (open_clip(vision={"attentional_pool": True}), f"attentional_pool=True {UNSUPPORTED}"),
    (open_clip(vision={"pool_type": "avg"}), f"pool_type='avg' {UNSUPPORTED}"),
    (open_clip(vision={"no_ln_pre": True}), f"no_ln_pre=True {UNSUPPORTED}"),
    (open_clip(vision={"norm_kwargs": {"eps": 1e-6}}), UNSUPPORTED),
    (open_clip(vision={"layers": [3, 4, 6, 3], "patch_size": None}), "a CLIP with a ResNet"),
    (open_clip(hf_model_name="roberta-base"), f"hf_model_name='roberta-base' {UNSUPPORTED}"),
    (open_clip(no_causal_mask=True), f"no_causal_mask=True {UNSUPPORTED}"),
    (open_clip(embed_cls=True), f"embed_cls=True {UNSUPPORTED}"),
    (open_clip(pool_type="last"), f"pool_type='last' {UNSUPPORTED}"),
    ({"embed_dim": 512, "vision_cfg": {}}, " has no 'text_cfg'; download it again"),
    ({"vision_cfg": {}, "text_cfg": {}}, " has no 'embed_dim'; download it again"),
    ({"embed_dim": 512, "vision_cfg": "ViT", "text_cfg": {}}, ": "),
    (open_clip(vision={"width": "wide"}), ": "),
    (open_clip(vision={"head_width": 0}), ": "),
    (open_clip(heads=7), "7 heads do not divide a width of 512"),
    (None, ": "),
  ],
)  # fmt: skip
def test_an_open_clip_config_of_another_model_raises_one_line(tmp_path, data, message):
  assert message in error_message(tmp_path, "open_clip_config.json", {"model_cfg": data})


def config_with(section, **fields):
  data = hf_config(SMALL)
  data[section].update(fields)
  return data


@pytest.mark.parametrize(
  ("data", "message"),
  [
    ({**hf_config(SMALL), "model_type": "siglip"}, ": it describes a model of type 'siglip', not a CLIP"),
    (config_with("text_config", hidden_act="gelu"), ": hidden_act is quick_gelu for images and gelu for text"),
    (config_with("vision_config", layer_norm_eps=1e-6), ": layer_norm_eps is 1e-06 for images and 1e-05 for text"),
    (config_with("vision_config", hidden_size="wide"), "hidden_size"),
    (config_with("vision_config", num_attention_heads=7), "7"),
    (config_with("vision_config", num_attention_heads=0), ": "),
    ({**hf_config(SMALL), "text_config": 3}, ": "),
    ("{", " is damaged (Expecting property name"),
    ("\x00", " is damaged (Expecting value"),
    ("[" * 100_000, " is damaged (maximum recursion depth"),
  ],
)  # fmt: skip
def test_a_damaged_or_unsupported_hugging_face_config_raises_one_line(tmp_path, data, message):
  assert message in error_message(tmp_path, "config.json", data)


def shapes(**changes):
  tensors = {name: Tensor(values.shape, values.copy) for name, values in clip_tensors(SMALL).items()}
  return {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}


def test_shapes_give_all_sizes_except_heads_and_activation():
  given = {"num_heads": (2, 1), "activation": "quick_gelu", "image_size": (24, 8)}
  assert settings.from_shapes(shapes(), **given) == SMALL


@pytest.mark.parametrize(
  ("name", "shape"),
  [
    ("visual_projection.weight", None), ("visual_projection.weight", ()),
    ("text_model.embeddings.token_embedding.weight", (50,)), ("vision_model.encoder.layers.0.mlp.fc1.weight", None),
    ("vision_model.embeddings.position_embedding.weight", ()),
    ("vision_model.embeddings.patch_embedding.weight", ()),
  ],
)  # fmt: skip
def test_shapes_of_an_incomplete_clip_raise(name, shape):
  change = {name: None if shape is None else Tensor(shape, lambda: None)}
  with pytest.raises(ValueError, match=r"these are not all tensors of a CLIP: .* is missing or has the wrong shape"):
    settings.from_shapes(shapes(**change), num_heads=(2, 1), activation="gelu", image_size=(16, 16))


def test_quoted_content_of_a_config_is_shortened(tmp_path):
  data = open_clip(embed_dim=8)
  data["vision_cfg"]["si" * 5000] = 1
  assert len(error_message(tmp_path, "open_clip_config.json", {"model_cfg": data})) < 1000
