"""Products with weights that are sharded over a slice, compiled by the TPU compiler, which does not need a TPU."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from tireid_jax.parallel import sharding
from tireid_jax.plan import chips, costs, hlo


def test_matmuls_with_gathered_weights_and_their_gradients_are_not_decomposed_into_shards():
  mesh = sharding.make_mesh(1, -1, 1, devices=chips.devices("v5e:4x4"))
  weights, batch = NamedSharding(mesh, PartitionSpec("fsdp", "model")), sharding.batch_sharding(mesh)
  gather, constrain = sharding.gather_weights(mesh), sharding.activation_constraint(mesh)

  def step(kernel, x, d_hidden):
    hidden, backward = jax.vjp(
      lambda kernel, x: constrain(x @ gather("fc/kernel", kernel, x.dtype), "batch"), kernel, constrain(x, "batch")
    )
    return hidden, backward(d_hidden)

  kernel = jax.ShapeDtypeStruct((768, 3072), jnp.float32, sharding=weights)
  x, d_hidden = (jax.ShapeDtypeStruct((512, 197, width), jnp.bfloat16, sharding=batch) for width in (768, 3072))
  compiled = jax.jit(step, out_shardings=(batch, (weights, batch))).lower(kernel, x, d_hidden).compile()
  kinds = {collective.kind for collective in costs.collectives(hlo.Module(compiled.as_text()))}
  # A decomposed matmul would pass partial sums between chips by collective permutes.
  assert "all-gather" in kinds
  assert "collective-permute" not in kinds
