"""Makes the HLO texts of small programs: as traced, and as the TPU's compiler leaves them for one v5e:2x2 and for two.

  JAX_PLATFORMS=cpu .venv-tpu/bin/python -m tests.testdata.hlo.make

A loop of three rounds has a loop of five in it, each a product of x f32[512,256], divided by rows, with its own of five
f32[256,256], whose rows are divided too. On two slices, the weights of a loop of three products are divided over all
eight devices and their gradient is summed. What the tests do not read is taken out: layouts of memory, lines of source.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tireid_jax.parallel import sharding
from tireid_jax.plan import chips

FOLDER = pathlib.Path(__file__).parent


def program(x, weights):
  """Returns (f32[256], f32[512,512])."""

  def once(x, weight):
    return jnp.tanh(x @ weight), None

  x, _ = jax.lax.scan(lambda x, _: (jax.lax.scan(once, x, weights)[0], None), x, None, length=3)
  return x.sum(0), x @ x.T


def gradient(x, weights):
  """Returns f32[3,256,256], of a loss of x f32[1024,256] after three products."""
  return jax.grad(lambda w: jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]))(weights)


def shorten(text):
  """Returns the text of a compiled program without what the tests do not read."""
  partitions = re.search(r"num_partitions=\d+", text)[0]
  text = text[text.index("\n\n\n") + 3 :]
  text = re.sub(r'backend_config=\{"flag.*?("estimated_cycles":"\d+").*', r"backend_config={\1}", text)
  text = re.sub(r', backend_config=\{"flag.*', "", text)
  text = re.sub(r', metadata=\{op_name=("[^"]*")[^}]*\}', r", metadata={op_name=\1}", text)
  text = re.sub(r", frontend_attributes=\{(?!_xla_host_transfer)[^}]*\}", "", text)
  return f"HloModule jit_program, {partitions}\n\n{text.strip()}\n"


def main():
  mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,), devices=chips.devices("v5e:2x2"))
  both = sharding.make_mesh(8, 1, 1, devices=chips.devices("v5e:2x2", num_slices=2))

  def array(shape, *axes, mesh=mesh):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

  results = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("d"))
  lowered = jax.jit(program, out_shardings=results).lower(array((512, 256), "d"), array((5, 256, 256), None, "d"))
  (FOLDER / "nested_loops_traced.txt").write_text(lowered.as_text(dialect="hlo").rstrip() + "\n")
  (FOLDER / "nested_loops_v5e.txt").write_text(shorten(lowered.compile().as_text()))
  kept = NamedSharding(both, PartitionSpec(None, "data"))
  arrays = array((1024, 256), "data", mesh=both), array((3, 256, 256), None, "data", mesh=both)
  compiled = jax.jit(gradient, out_shardings=kept).lower(*arrays).compile()
  (FOLDER / "two_slices_v5e.txt").write_text(shorten(compiled.as_text()))


if __name__ == "__main__":
  main()
