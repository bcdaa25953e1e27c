import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.models import transformer
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.execution import Execution, choose_attention
from tireid_jax.models.transformer import Attention
from tireid_jax.models.variants import VARIANTS, Tower, Variant
from tireid_jax.training.stages import path_string

SMALL = Variant(Tower(16, 2, 2), Tower(16, 2, 2), patch_size=4, embedding_size=8)


def choose(name, variant=VARIANTS["ViT-B/16"], dtype="bfloat16", platform="gpu", probe=lambda *_: "", **others):
  return choose_attention(
    name, variant=variant, dtype=dtype, platform=platform, lengths=(197, 81), probe=probe, **others
  )


def test_auto_is_cudnn_on_a_gpu_in_half_precision_and_xla_elsewhere():
  assert choose("auto") == choose("auto", dtype="float16") == "cudnn"
  assert choose("auto", dtype="float32") == choose("auto", platform="tpu") == choose("auto", platform="cpu") == "xla"


def test_an_attention_requested_by_name_is_used():
  assert (choose("xla"), choose("cudnn")) == ("xla", "cudnn")


@pytest.mark.parametrize("width", [2 * 136, 2 * 60])
def test_head_sizes_that_cudnn_does_not_support_use_xla(width):
  unsupported = dataclasses.replace(VARIANTS["ViT-B/16"], text=Tower(width, 12, 2))
  assert choose("auto", variant=unsupported) == "xla"
  with pytest.raises(ValueError, match=f"takes heads of 8, 16, ... 128 channels, and the model has {width // 2}"):
    choose("cudnn", variant=unsupported)


@pytest.mark.parametrize(
  ("where", "message"),
  [
    ({"platform": "tpu"}, "model.attention is cudnn, which runs on NVIDIA GPUs alone, and this is tpu"),
    ({"dtype": "float32"}, "computes in bfloat16 or float16, and the stage's precision is float32"),
  ],
)
def test_cudnn_on_another_platform_or_in_float32_raises(where, message):
  with pytest.raises(ValueError) as error:
    choose("cudnn", **where)
  assert message in str(error.value)
  assert str(error.value).endswith("set --config.model.attention=auto")


def test_the_probe_gets_the_head_size_length_mask_and_dtype_of_each_encoder():
  calls = []
  wide = dataclasses.replace(VARIANTS["ViT-B/16"], text=Tower(width=512, num_blocks=12, num_heads=4))
  assert choose("auto", variant=wide, probe=lambda *call: calls.append(call)) == "cudnn"
  assert calls == [(64, 197, False, "bfloat16"), (128, 81, True, "bfloat16")]


@pytest.mark.parametrize("failing_mask", [False, True])
def test_if_the_probe_fails_auto_falls_back_to_xla_with_one_log_line_and_cudnn_raises(failing_mask):
  def probe(head_size, length, is_causal, dtype):
    return "no kernel for it" if is_causal == failing_mask else ""

  lines = []
  assert choose("auto", probe=probe, log=lines.append) == "xla"
  assert lines == ["model.attention=auto is xla: cuDNN's attention does not run on this GPU (no kernel for it)"]
  with pytest.raises(ValueError, match="cudnn, which does not run on this GPU .no kernel for it.; set .*=auto"):
    choose("cudnn", probe=probe, log=lines.append)
  assert len(lines) == 1


def test_nothing_is_probed_if_xla_is_requested_or_there_is_no_gpu():
  def probe(*_):
    raise AssertionError

  assert choose("xla", probe=probe) == choose("auto", platform="cpu", probe=probe) == "xla"


@pytest.mark.parametrize("attention", ["xla", "cudnn"])
def test_every_attention_layer_uses_the_chosen_implementation(monkeypatch, attention):
  calls = []

  def record(query, _, __, is_causal=None, implementation="xla", mask=None):
    if is_causal is not None:  # the last block, which computes one position only, does not pass it
      calls.append((implementation, is_causal))
    return query

  monkeypatch.setattr(jax.nn, "dot_product_attention", record)
  monkeypatch.setattr(transformer, "attend", record)
  model = CLIP(SMALL, (8, 8), execution=Execution(attention=attention))
  jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
  assert set(calls) == {(attention, False), (attention, True)}  # image encoder, text encoder


@pytest.mark.parametrize("is_causal", [False, True])
def test_xla_attention_is_a_softmax_of_scaled_dot_products(is_causal):
  x = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)
  module = Attention(2, is_causal, Execution(attention="xla"))
  found, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
  weights = {name: np.asarray(layer["kernel"], np.float64) for name, layer in variables["params"].items()}
  query, key, value = ((x @ weights[name]).reshape(2, 5, 2, 8) for name in ("query", "key", "value"))
  weights_of_tokens = np.exp(np.einsum("blhk,bmhk->bhlm", query, key) / np.sqrt(8))
  weights_of_tokens *= np.tri(5) if is_causal else 1
  weights_of_tokens /= weights_of_tokens.sum(-1, keepdims=True)
  mixed = np.einsum("bhlm,bmhk->blhk", weights_of_tokens, value).reshape(2, 5, 16)
  np.testing.assert_allclose(found, mixed @ weights["out"], rtol=1e-4, atol=1e-6)


def test_an_unknown_choice_of_rematerialisation_raises():
  with pytest.raises(ValueError, match="remat is 'some'; it must be one of none, dots, full"):
    Execution(remat="some")


def test_every_weight_of_a_block_is_gathered_with_its_path_in_the_block():
  seen = set()

  def gather(path, weight, dtype):
    seen.add((path, weight.shape, dtype))
    return weight

  model = CLIP(SMALL, (8, 8), execution=Execution(jnp.bfloat16, gather=gather))
  variables = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
  seen.clear()
  jax.eval_shape(model.apply, variables, jnp.ones((1, 8, 8, 3)), jnp.ones((1, 4), jnp.int32))
  block = variables["params"]["image_encoder"]["transformer"]["last_block"]
  assert seen == {
    (path_string(path), leaf.shape, jnp.bfloat16) for path, leaf in jax.tree_util.tree_leaves_with_path(block)
  }
