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
def test_each_family_is_told_and_renamed_below_any_prefix(family, prefix):
  found = renamed({f"{prefix}{name}": values for name, values in FAMILIES[family].items()})
  assert (found.family, found.prefix, found.beside) == (family, prefix, [])
  assert_same(found.tensors, TENSORS)


def test_a_text_tower_of_its_own_is_renamed_as_one_at_the_top():
  assert_same(renamed(forms.to_openai(TENSORS, text="text.")).tensors, TENSORS)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_beside_the_model_is_told_apart(family):
  inside = {f"base_model.{name}": values for name, values in FAMILIES[family].items()}
  beside = {"mlm_head.fc.weight": np.zeros(3), "classifier.weight": np.zeros(3), "base.visual": np.zeros(3)}
  found = renamed({**beside, **inside})
  assert found.beside == sorted(beside)
  assert_same(found.tensors, TENSORS)


@pytest.mark.parametrize(("family", "odd"), [
  ("Hugging Face", "vision_model.head.weight"), ("OpenAI", "visual.attn_pool.query"),
  ("OpenAI", "logit_bias"), ("OpenAI", "text.cls_emb"), ("OpenAI", "visual.transformer.resblocks.0.ls_1.gamma"),
])  # fmt: skip
def test_a_name_of_no_clip_is_kept(family, odd):
  found = renamed({**FAMILIES[family], odd: np.zeros(3)})
  known = odd.replace("visual.transformer.resblocks", "vision_model.encoder.layers")
  assert set(found.tensors) - set(TENSORS) == {known}


@pytest.mark.parametrize("family", FAMILIES)
def test_of_several_models_none_is_taken_unless_it_is_chosen(family):
  model = FAMILIES[family]
  average = {name: 2 * values for name, values in model.items()}
  below = {
    **{f"model.{name}": v for name, v in model.items()},
    **{f"model_ema.{name}": v for name, v in average.items()},
  }
  with pytest.raises(ValueError, match=r"^it holds 2 CLIPs, below model\. and model_ema\.; choose one by --config"):
    renamed(below)
  for prefix in ("model_ema", "model_ema."):
    found = renamed(below, prefix)
    assert (found.family, found.prefix, len(found.beside)) == (family, "model_ema.", len(model))
    assert_same(found.tensors, {name: 2 * values for name, values in TENSORS.items()})
  at_the_top = {**model, **{f"teacher.{name}": v for name, v in average.items()}}
  with pytest.raises(ValueError, match=r"below \. and teacher\.; choose"):
    renamed(at_the_top)
  found = renamed(at_the_top, ".")
  assert (found.prefix, len(found.beside)) == ("", len(model))
  assert_same(found.tensors, TENSORS)
  with pytest.raises(
    ValueError, match=r"^no CLIP lies below 'student'; set --config.pretrained_prefix to one of model\."
  ):
    renamed(below, "student")


def test_buffers_are_no_weights():
  buffers = ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"]
  assert_same(renamed({**TENSORS, **dict.fromkeys(buffers, np.arange(3))}).tensors, TENSORS)
  buffers = ["attn_mask", "text.attn_mask", "transformer.resblocks.0.attn_mask", "input_resolution", "context_length",
             "vocab_size"]  # fmt: skip
  assert_same(renamed({**FAMILIES["OpenAI"], **dict.fromkeys(buffers, np.arange(3))}).tensors, TENSORS)


@pytest.mark.parametrize(
  "strange",
  [
    ["visual.conv1.weight", "visual.layer1.0.bn1.weight", "visual.attnpool.positional_embedding", "logit_scale"],
    ["visual.trunk.blocks.0.attn.qkv.weight", "text.transformer.resblocks.0.ln_1.weight"],
    ["vision_model.embeddings.patch_embedding.weight", "vision_model.head.probe"],
    ["embeddings.class_embedding"],
    ["class_embedding", "myvisual.class_embedding"],
    ["x"],
    [],
  ],
  ids=["ResNet", "timm", "SigLIP", "a tower", "another name", "anything", "nothing"],
)
def test_weights_that_are_no_clip_with_an_image_transformer_are_refused_in_one_line(strange):
  with pytest.raises(ValueError) as error:
    renamed(dict.fromkeys(strange, np.zeros(3)))
  hint = f"its tensors are {', '.join(sorted(strange)[:3])}, ..." if strange else "it holds no tensor"
  assert str(error.value) == f"these are no weights of a CLIP with an image transformer; {hint}"
