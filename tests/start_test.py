import jax.numpy as jnp
import pytest

from configs import cuhk
from tireid_jax import start
from tireid_jax.models.variants import VARIANTS


def execution(*, precision="auto", attention="auto", **where):
  config = cuhk.get_config()
  config.model.attention = attention
  model = start.build_model(config, VARIANTS["ViT-B/16"], use_prompts=True, precision=precision, **where)
  return model.execution


@pytest.mark.parametrize(
  ("platform", "dtype", "attention"),
  [("cpu", jnp.float32, "xla"), ("tpu", jnp.bfloat16, "xla"), ("gpu", jnp.bfloat16, "cudnn")],
)
def test_auto_follows_the_platform_that_shall_run_the_model(platform, dtype, attention):
  found = execution(platform=platform)
  assert (found.dtype, found.attention) == (dtype, attention)


def test_without_a_platform_it_is_that_of_this_process():
  assert execution() == execution(platform="cpu")


def test_what_is_asked_for_is_taken():
  found = execution(platform="gpu", precision="float32", attention="xla")
  assert (found.dtype, found.attention) == (jnp.float32, "xla")
