"""Products of weights that a slice keeps in parts, as the TPU's own compiler makes them, which needs no TPU."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from tireid_jax.parallel import sharding
from tireid_jax.plan import chips, costs, hlo


def test_products_of_gathered_weights_and_of_their_gradients_are_not_made_part_by_part():
  mesh = sharding.make_mesh(1, -1, 1, devices=chips.devices("v5e:4x4"))
  kept, rows = NamedSharding(mesh, PartitionSpec("fsdp", "model")), sharding.batch_sharding(mesh)
  gather, place = sharding.gather_weights(mesh), sharding.activation_constraint(mesh)

  def step(kernel, x, d_hidden):
    hidden, backward = jax.vjp(
      lambda kernel, x: place(x @ gather("fc/kernel", kernel, x.dtype), "rows"), kernel, place(x, "rows")
    )
    return hidden, backward(d_hidden)

  kernel = jax.ShapeDtypeStruct((768, 3072), jnp.float32, sharding=kept)
  x, d_hidden = (jax.ShapeDtypeStruct((512, 197, width), jnp.bfloat16, sharding=rows) for width in (768, 3072))
  compiled = jax.jit(step, out_shardings=(rows, (kept, rows))).lower(kernel, x, d_hidden).compile()
  kinds = {exchange.kind for exchange in costs.collectives(hlo.Module(compiled.as_text()))}
  # Parts of a sum on their way from chip to chip, while the next are multiplied, would be permuted.
  assert "all-gather" in kinds
  assert "collective-permute" not in kinds
