import numpy as np
import pytest

from tests.models import forms
from tests.models.trees import SMALL, clip_tensors
from tireid_jax.models.weights import names
from tireid_jax.models.weights.tensor import Tensor

TENSORS = clip_tensors(SMALL)


def renamed(arrays, prefix=""):
  tensors = {name: Tensor(values.shape, lambda v=values: v) for name, values in arrays.items()}
  return names.to_hugging_face(tensors, prefix)


def assert_same(tensors, arrays):
  assert set(tensors) == set(arrays)
  for name, tensor in tensors.items():
    values = tensor.read()
    assert tensor.shape == values.shape, name
    np.testing.assert_array_equal(values, arrays[name], err_msg=name)


def flat(tree, prefix=""):
  found = {}
  for key, value in tree.items():
    found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
  return found


FAMILIES = {
  "Hugging Face": TENSORS,
  "OpenAI": forms.to_openai(TENSORS),
  "Flax": flat(forms.to_flax(TENSORS)),
}


@pytest.mark.parametrize("prefix", ["", "module.", "base_model.", "module.base_model.", "model.clip."])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_recognised_and_renamed_with_any_prefix(family, prefix):
  found = renamed({f"{prefix}{name}": values for name, values in FAMILIES[family].items()})
  assert (found.family, found.prefix, found.ignored) == (family, prefix, [])
  assert_same(found.tensors, TENSORS)


def test_a_separate_text_module_is_renamed_as_well():
  assert_same(renamed(forms.to_openai(TENSORS, text="text.")).tensors, TENSORS)


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_outside_the_model_are_ignored(family):
  inside = {f"base_model.{name}": values for name, values in FAMILIES[family].items()}
  ignored = {"mlm_head.fc.weight": np.zeros(3), "classifier.weight": np.zeros(3), "base.visual": np.zeros(3)}
  found = renamed({**ignored, **inside})
  assert found.ignored == sorted(ignored)
  assert_same(found.tensors, TENSORS)


@pytest.mark.parametrize(("family", "unknown"), [
  ("Hugging Face", "vision_model.head.weight"), ("OpenAI", "visual.attn_pool.query"),
  ("OpenAI", "logit_bias"), ("OpenAI", "text.cls_emb"), ("OpenAI", "visual.transformer.resblocks.0.ls_1.gamma"),
])  # fmt: skip
def test_an_unknown_name_inside_clip_is_included(family, unknown):
  found = renamed({**FAMILIES[family], unknown: np.zeros(3)})
  renamed_to = unknown.replace("visual.transformer.resblocks", "vision_model.encoder.layers")
  assert set(found.tensors) - set(TENSORS) == {renamed_to}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_several_models_must_be_chosen(family):
  model = FAMILIES[family]
  average = {name: 2 * values for name, values in model.items()}
  with_prefixes = {
    **{f"model.{name}": v for name, v in model.items()},
    **{f"model_ema.{name}": v for name, v in average.items()},
  }
  with pytest.raises(
    ValueError, match=r"^it has 2 CLIPs, with the prefixes model\. and model_ema\.; choose one by --config"
  ):
    renamed(with_prefixes)
  for prefix in ("model_ema", "model_ema."):
    found = renamed(with_prefixes, prefix)
    assert (found.family, found.prefix, len(found.ignored)) == (family, "model_ema.", len(model))
    assert_same(found.tensors, {name: 2 * values for name, values in TENSORS.items()})
  at_the_top = {**model, **{f"teacher.{name}": v for name, v in average.items()}}
  with pytest.raises(ValueError, match=r"prefixes \. and teacher\.; choose"):
    renamed(at_the_top)
  found = renamed(at_the_top, ".")
  assert (found.prefix, len(found.ignored)) == ("", len(model))
  assert_same(found.tensors, TENSORS)
  with pytest.raises(
    ValueError, match=r"^no CLIP has the prefix 'student'; set --config.pretrained_prefix to one of model\."
  ):
    renamed(with_prefixes, "student")


def test_buffers_are_dropped():
  buffers = ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"]
  assert_same(renamed({**TENSORS, **dict.fromkeys(buffers, np.arange(3))}).tensors, TENSORS)
  buffers = ["attn_mask", "text.attn_mask", "transformer.resblocks.0.attn_mask", "input_resolution", "context_length",
             "vocab_size"]  # fmt: skip
  assert_same(renamed({**FAMILIES["OpenAI"], **dict.fromkeys(buffers, np.arange(3))}).tensors, TENSORS)


@pytest.mark.parametrize(
  "unsupported",
  [
    ["visual.conv1.weight", "visual.layer1.0.bn1.weight", "visual.attnpool.positional_embedding", "logit_scale"],
    ["visual.trunk.blocks.0.attn.qkv.weight", "text.transformer.resblocks.0.ln_1.weight"],
    ["vision_model.embeddings.patch_embedding.weight", "vision_model.head.probe"],
    ["embeddings.class_embedding"],
    ["class_embedding", "myvisual.class_embedding"],
    ["x"],
    [],
  ],
  ids=["ResNet", "timm", "SigLIP", "one encoder", "another name", "one tensor", "no tensor"],
)
def test_weights_other_than_a_clip_with_a_vision_transformer_raise_one_line(unsupported):
  with pytest.raises(ValueError) as error:
    renamed(dict.fromkeys(unsupported, np.zeros(3)))
  hint = f"its tensors are {', '.join(sorted(unsupported)[:3])}, ..." if unsupported else "it has no tensors"
  assert str(error.value) == f"these are not the weights of a CLIP with a vision transformer; {hint}"
