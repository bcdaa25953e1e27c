"""Sharding rules: large weights are sharded, and so are their moments and the batch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from configs import cuhk
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.training import initialization, optimizers, stages
from tireid_jax.training.model import build_model
from tireid_jax.training.state import TrainState

NUM_IDENTITIES = 11_003  # of CUHK-PEDES; not divisible by 2
# The largest replicated weights of ViT-B/16 are position embeddings (150,000 values), except the patch embedding.
LARGE = 200_000


def abstract_mesh(data=1, fsdp=1, model=1):
  return AbstractMesh((data, fsdp, model), sharding.AXES, axis_types=(AxisType.Auto,) * 3)


@pytest.fixture(scope="module")
def state():
  """Returns the shapes of the TrainState of ViT-B/16 with prompts when everything is trained."""
  config = cuhk.get_config()
  config.stage2.trains = ("prompts", "params")
  stage = stages.from_config(config, 2)
  model = build_model(config, VARIANTS["ViT-B/16"], use_prompts=True, precision="float32")
  variables = jax.eval_shape(lambda: initialization.random_variables(model, jax.random.key(0), NUM_IDENTITIES))
  labels = stage.labels(variables)
  optimizer = optimizers.make_optimizer(stage, labels, steps_per_epoch=10)
  trained, _ = stages.partition(variables, labels)
  return TrainState(jax.ShapeDtypeStruct((), jnp.int32), variables, jax.eval_shape(optimizer.init, trained))


def leaves(tree):
  return {stages.path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def num_shards(leaf, leaf_sharding):
  """Returns the number of different shards of a leaf."""
  return leaf.size // int(np.prod(leaf_sharding.shard_shape(leaf.shape)))


def test_large_weights_are_sharded_over_fsdp_and_those_of_blocks_also_over_model(state):
  shapes = leaves(state.variables)
  shardings = leaves(sharding.tree_shardings(abstract_mesh(fsdp=8, model=2), state.variables))
  large = {path: num_shards(leaf, shardings[path]) for path, leaf in shapes.items() if leaf.size > LARGE}
  assert large == {
    **{path: 16 for path in large if "block" in path},
    **{f"params/{encoder}_encoder/projection/kernel": 8 for encoder in ("image", "text")},
    "params/image_encoder/patch_embedding/kernel": 1,
    "params/text_encoder/token_embedding/embedding": 8,
    "params/id_head/kernel": 8,
  }
  assert sum("block" in path for path in large) == 2 * 2 * 6  # query, key, value, out, fc, proj
  assert {num_shards(shapes[path], shardings[path]) for path in shapes if path.startswith("prompts/")} == {8}


def test_moments_are_sharded_like_their_weights(state):
  shardings = sharding.tree_shardings(abstract_mesh(fsdp=8, model=2), state)
  weights = leaves(shardings.variables)
  found = {path: spec for path, spec in leaves(shardings.optimizer).items() if "/mu/" in path or "/nu/" in path}
  assert len(found) == 2 * (len(weights) - 1)  # logit_scale is frozen
  for path, spec in found.items():
    assert spec == weights[path.replace("/nu/", "/mu/").partition("/mu/")[2]], path


def test_each_of_eight_devices_along_fsdp_holds_an_eighth_of_the_state(state):
  shardings = leaves(sharding.tree_shardings(abstract_mesh(fsdp=8), state))
  total = sum(leaf.size for leaf in leaves(state).values())
  per_device = sum(leaf.size // num_shards(leaf, shardings[path]) for path, leaf in leaves(state).items())
  assert per_device < 1.05 * total / 8


def test_every_rule_matches_a_weight(state):
  paths = leaves(state.variables)
  assert [pattern for pattern, _ in sharding.RULES if not any(re.search(f"{pattern}$", path) for path in paths)] == []


def test_an_axis_that_does_not_divide_its_dimension_is_not_used():
  tree = {"id_head": {"kernel": jax.ShapeDtypeStruct((512, NUM_IDENTITIES), jnp.float32)}}
  shardings = sharding.tree_shardings(abstract_mesh(fsdp=8, model=2), tree)
  assert shardings["id_head"]["kernel"].spec == PartitionSpec("fsdp", None)


def test_an_unused_axis_is_logged_once_for_a_weight_and_its_moments(caplog):
  sharding._log_dropped.cache_clear()
  head = {"id_head": {"kernel": jax.ShapeDtypeStruct((512, 100), jnp.float32)}}
  with caplog.at_level("WARNING", "absl"):
    for model in (8, 8, 4):
      sharding.tree_shardings(abstract_mesh(fsdp=2, model=model), {"params": head, "mu": {"params": head}})
  assert [record.getMessage() for record in caplog.records] == [
    "sharding: id_head/kernel is not split over the 8 devices along model, which do not divide its dimension of 100"
  ]


def test_the_batch_is_sharded_over_data_and_fsdp():
  mesh = abstract_mesh(data=2, fsdp=4, model=2)
  assert sharding.batch_sharding(mesh).shard_shape((16, 5)) == (2, 5)
  assert sharding.batch_devices(mesh) == 8


@pytest.mark.parametrize("batch_size", [4, 24])
def test_a_batch_that_does_not_give_each_device_whole_images_raises(batch_size):
  mesh = abstract_mesh(data=2, fsdp=4, model=2)
  sharding.check_batch("stage1.batch_size", 32, mesh, captions_per_image=2)
  with pytest.raises(ValueError) as error:
    sharding.check_batch("stage1.microbatch_size", batch_size, mesh, captions_per_image=2)
  assert f"stage1.microbatch_size is {batch_size}, which the 8 devices" in str(error.value)
  assert "set --config.stage1.microbatch_size to a multiple of 16" in str(error.value)


def constraints(function, *arrays):
  """Returns the specs of the sharding constraints in a function, in order."""
  found = []

  def is_jaxpr(value):
    return isinstance(value, (ClosedJaxpr, Jaxpr))

  def visit(jaxpr):
    for equation in jaxpr.eqns:
      if equation.primitive.name == "sharding_constraint":
        found.append(equation.params["sharding"].spec)
      for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
        if is_jaxpr(value):
          visit(value)

  visit(jax.make_jaxpr(function)(*arrays))
  return found


def test_a_weight_of_a_block_is_gathered_along_fsdp_and_its_gradient_is_sharded_again():
  gather = sharding.gather_weights(abstract_mesh(fsdp=8, model=2))
  kernel = jnp.ones((16, 32))
  loss = jax.grad(lambda kernel: gather("fc/kernel", kernel, jnp.bfloat16).astype(jnp.float32).sum())
  gathered, sharded = PartitionSpec(None, "model"), PartitionSpec("fsdp", "model")
  assert constraints(loss, kernel) == [gathered, gathered, sharded]
  assert jax.eval_shape(loss, kernel).dtype == jnp.float32


def test_weights_that_are_not_sharded_along_fsdp_are_not_gathered():
  assert sharding.gather_weights(abstract_mesh(data=8)) is None
  gather = sharding.gather_weights(abstract_mesh(fsdp=8))
  assert constraints(lambda bias: gather("fc/bias", bias, jnp.bfloat16), jnp.ones(32)) == []
