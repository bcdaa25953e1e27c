"""The model of a config: execution settings follow the platform, unless they are set."""

import functools

import jax.numpy as jnp
import pytest

from configs import cuhk
from tireid_jax.models.variants import VARIANTS
from tireid_jax.training import model as model_module
from tireid_jax.training.model import build_model


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
def test_auto_follows_the_platform_that_shall_run_the_model(monkeypatch, platform, dtype, attention, scan_blocks):
  monkeypatch.setattr(
    model_module, "choose_attention", functools.partial(model_module.choose_attention, probe=lambda *_: "")
  )
  found = execution(platform=platform)
  assert (found.dtype, found.attention, found.scan_blocks) == (dtype, attention, scan_blocks)


def test_that_cudnn_does_not_run_is_logged_once(capsys):
  model_module._log_once.cache_clear()
  assert [execution(platform="gpu").attention for _ in range(2)] == ["xla", "xla"]
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("model.attention=auto is xla")


def test_without_a_platform_it_is_that_of_this_process():
  assert execution() == execution(platform="cpu")


def test_explicit_settings_take_precedence():
  found = execution(platform="gpu", precision="float32", attention="xla", blocks="loop")
  assert (found.dtype, found.attention, found.scan_blocks) == (jnp.float32, "xla", True)
  assert not execution(platform="cpu", blocks="unrolled").scan_blocks


def test_rematerialisation_depends_on_how_blocks_run_unless_it_is_set():
  assert execution(platform="cpu").remat == "dots"
  assert execution(platform="tpu").remat == execution(platform="cpu", blocks="unrolled").remat == "none"
  assert execution(platform="tpu", remat="full").remat == "full"


def test_a_config_of_another_version_is_rejected():
  config = cuhk.get_config()
  del config.model.blocks
  with pytest.raises(ValueError, match=r"model has other fields than this version knows \(blocks\); train it again"):
    build_model(config, VARIANTS["ViT-B/16"], use_prompts=True, precision="auto")
