"""The model of a config: its variant, and execution settings that depend on the platform unless they are set."""

import dataclasses
import functools
import types

import jax.numpy as jnp
import pytest

from configs import cuhk
from tireid_jax.errors import UserError
from tireid_jax.models import variants
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import VARIANTS
from tireid_jax.training import model as model_module
from tireid_jax.training.model import build_model, check_weights, find_variant


def execution(*, precision="auto", attention="auto", blocks="auto", remat="auto", **where):
  config = cuhk.get_config()
  config.model.update(attention=attention, blocks=blocks, remat=remat)
  model = build_model(config, VARIANTS["ViT-B/16"], use_prompts=True, precision=precision, **where)
  return model.execution


@pytest.mark.parametrize(
  ("platform", "dtype", "attention", "scan_blocks"),
  [
    ("cpu", jnp.float32, "xla", True),
    ("tpu", jnp.bfloat16, "xla", False),
    ("gpu", jnp.bfloat16, "cudnn", False),
  ],
)
def test_auto_settings_depend_on_the_platform_that_will_run_the_model(
  monkeypatch, platform, dtype, attention, scan_blocks
):
  monkeypatch.setattr(
    model_module, "choose_attention", functools.partial(model_module.choose_attention, probe=lambda *_: "")
  )
  found = execution(platform=platform)
  assert (found.dtype, found.attention, found.scan_blocks) == (dtype, attention, scan_blocks)


def test_a_fallback_from_cudnn_is_logged_once(capsys):
  model_module._log_once.cache_clear()
  assert [execution(platform="gpu").attention for _ in range(2)] == ["xla", "xla"]
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("model.attention=auto is xla")


def test_the_platform_defaults_to_that_of_this_process():
  assert execution() == execution(platform="cpu")


def test_explicit_settings_take_precedence():
  found = execution(platform="gpu", precision="float32", attention="xla", blocks="loop")
  assert (found.dtype, found.attention, found.scan_blocks) == (jnp.float32, "xla", True)
  assert not execution(platform="cpu", blocks="unrolled").scan_blocks


def test_rematerialisation_depends_on_scanned_or_unrolled_blocks_unless_it_is_set():
  assert execution(platform="cpu").remat == "dots"
  assert execution(platform="tpu").remat == execution(platform="cpu", blocks="unrolled").remat == "none"
  assert execution(platform="tpu", remat="full").remat == "full"


def test_a_config_with_the_fields_of_another_version_raises():
  config = cuhk.get_config()
  del config.model.blocks
  with pytest.raises(ValueError, match=r"model has other fields than this version knows \(blocks\); train it again"):
    build_model(config, VARIANTS["ViT-B/16"], use_prompts=True, precision="auto")


def configured(**model):
  config = cuhk.get_config()
  config.pretrained_prefix, config.data.image_size = "ema.", (48, 24)
  config.model.update(stride=12, **model)
  return config


@pytest.fixture
def opened(monkeypatch):
  """Returns the recorded calls of `open_weights`: (path, image size, keywords). The weights are those of "tiny"."""
  calls = []

  def open_weights(path, image_size, **keywords):
    calls.append((path, image_size, keywords))
    return types.SimpleNamespace(variant=VARIANTS["tiny"])

  monkeypatch.setattr(model_module.pretrained, "open_weights", open_weights)
  return calls


@pytest.fixture
def stored(monkeypatch):
  """Returns the source of a checkpoint of "tiny" for square images."""
  variant = dataclasses.replace(VARIANTS["tiny"], native_image_size=(32, 32))
  metadata = {"variant": variants.to_json(variant)}
  monkeypatch.setattr(model_module.best_checkpoint, "read_metadata", {"FOLDER": metadata}.__getitem__)
  return "checkpoint", "FOLDER"


def test_heads_and_activation_of_the_config_override_those_of_a_named_variant():
  tiny = VARIANTS["tiny"]
  assert find_variant(configured(variant="tiny"), None) == tiny
  found = find_variant(configured(variant="tiny", num_heads=(2, 0), activation="gelu"), None)
  assert found == dataclasses.replace(tiny, image=dataclasses.replace(tiny.image, num_heads=2), activation="gelu")


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("ViT-B/17", r"model.variant is 'ViT-B/17' \(did you mean 'ViT-B/16'\?\); it must be from_weights or one of tiny,"),
    ("from_weights", "model.variant=from_weights needs weights to start from; name a variant: tiny,"),
  ],
)
def test_an_unknown_variant_or_from_weights_without_weights_raises(name, message):
  with pytest.raises(UserError, match=message):
    find_variant(configured(variant=name), None)


def test_the_variant_of_weights_is_found_with_the_heads_activation_stride_and_prefix_of_the_config(opened, stored):
  config = configured(variant="from_weights", num_heads=(2, 1), activation="gelu")
  assert find_variant(config, ("pretrained", "FILE")) == VARIANTS["tiny"]
  known = {"num_heads": (2, 1), "activation": "gelu", "stride": 12, "prefix": "ema."}
  assert opened == [("FILE", (48, 24), known)]
  assert find_variant(config, stored).native_image_size == (32, 32)


def test_weights_are_checked_against_the_variant_of_the_config(opened):
  check_weights(configured(), None, VARIANTS["tiny"])
  assert not opened
  check_weights(configured(), ("pretrained", "FILE"), VARIANTS["tiny"])
  assert opened == [("FILE", (48, 24), {"variant": VARIANTS["tiny"], "stride": 12, "prefix": "ema."})]


def test_a_checkpoint_must_be_of_the_same_model_except_for_its_native_image_size(stored):
  tiny = VARIANTS["tiny"]
  check_weights(configured(), stored, tiny)
  assert tiny.native_image_size != (32, 32)
  other = dataclasses.replace(tiny, activation="gelu", layer_norm_eps=1e-6)
  named = "activation is quick_gelu in the checkpoint, gelu in the config; layer_norm_eps is 1e-05 in the checkpoint"
  with pytest.raises(UserError, match=f"the checkpoint in FOLDER is of another model: {named}"):
    check_weights(configured(), stored, other)


def test_a_model_has_the_image_size_stride_and_prompts_of_its_config():
  config = configured()
  config.prompts.update(depth=1, image_length=2, text_length=3)
  model = build_model(config, VARIANTS["tiny"], use_prompts=True, precision="auto")
  assert (model.image_size, model.stride) == ((48, 24), 12)
  assert (model.prompts.depth, model.prompts.image_length, model.prompts.text_length) == (1, 2, 3)
  assert build_model(config, VARIANTS["tiny"], use_prompts=False, precision="auto").prompts == PromptSpec()
