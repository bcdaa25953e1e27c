"""What a run's config asks of the compiler reaches it."""

import jax.numpy as jnp
import pytest

from tests import agreement
from tireid_jax import compiled, retrieval, sharding, stages
from tireid_jax.program import Program

OPTION = b"xla_gpu_deterministic_ops"


@pytest.fixture(params=[False, True], ids=["as it is", "deterministic"])
def is_deterministic(request):
  return request.param


def compiler_saw(jitted, *arguments):
  """Whether the option is among those of the compiled program."""
  return OPTION in jitted.lower(*arguments).compile().runtime_executable().serialize()


def test_deterministic_reaches_the_compiler_of_steps_and_of_encoders(is_deterministic):
  config = agreement.configured("stage1")
  config.deterministic = is_deterministic
  mesh = sharding.make_mesh(1, 1, 1)
  stage = stages.from_config(config, 1)
  program = Program(config, stage, agreement.VARIANT, mesh, num_identities=1, steps_per_epoch=1)
  batch = sharding.put_batch(mesh, agreement.draw_batch(0, stage.captions_per_image))
  assert compiler_saw(program.step(), program.shapes, batch) == is_deterministic
  encoders = retrieval.Encoders(program.model, mesh, 8, compiler_options=program.compiler_options)
  tokens = jnp.ones((8, 5), jnp.int32)
  assert compiler_saw(encoders._text, program.shapes.variables, tokens) == is_deterministic


def test_a_tpus_compiler_gets_no_options_of_gpus():
  assert compiled.options(deterministic=True, platform="tpu") is None
  assert compiled.options(deterministic=True, platform="gpu") == {OPTION.decode(): True}
