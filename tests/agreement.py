"""Computes the losses, first gradients and weights of some training steps on a mesh; they should not depend on it.

python -m tests.agreement --to=FOLDER --run=stage2:1,8,1 --run=stage2:2,4,1,fsdp,2

A mesh is DATA,FSDP,MODEL, optionally followed by the axis that crosses slices and the number of slices.

With the flags of tireid_jax.parallel.distributed, it is one of several processes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from orbax.checkpoint import multihost

from configs import toy
from tireid_jax import cli
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.parallel import distributed, sharding
from tireid_jax.storage import compilation_cache
from tireid_jax.training import stages
from tireid_jax.training.program import Program

VARIANT = Variant(
  Tower(64, 3, 2), Tower(32, 3, 2), patch_size=8, embedding_size=16, native_image_size=(32, 16), vocabulary_size=64,
  text_length=12, end_token=63,
)  # fmt: skip
SIZE = (32, 16)
NUM_IDENTITIES = 24
# Differs from all other sizes, so that the logits can be identified in a program by their shape.
BATCH_SIZE = 80
NUM_STEPS = 20

# How long one process waits for another that compiles on a busy machine.
COMPILE_TIMEOUT_MS = 600_000

# Two captions of each image, so that a batch has fewer images than captions.
STAGE_2 = {
  "losses": {"sdm": 1.0, "itc": 0.0, "identity": 1.0},
  "sampler": {"kind": "images", "captions_per_image": 2},
}
# Name: (number of the stage, fields that differ from configs/toy.py).
CASES = {
  "stage1": (1, {}),
  "stage2": (2, STAGE_2),
  "stage2_chunks": (2, {**STAGE_2, "microbatch_size": 16}),
}


def configured(case):
  """Returns the config of a case."""
  number, changes = CASES[case]
  config = toy.get_config()
  config.data.image_size = SIZE
  config.model.blocks = "loop"
  config.prompts.update(image_length=2, text_length=2, depth=2, dropout=0.2)
  fields = config[f"stage{number}"]
  fields.update({"batch_size": BATCH_SIZE, "warmup_epochs": 0.0, "precision": "float32", **changes})
  fields.augment.erase_probability = 0.5
  return config


def build(case, mesh, **fields):
  """Returns (Stage, Mesh, Program) of a case over all devices of all processes.

  Args:
    case: of CASES.
    mesh: as in --run.
    fields: changed fields of the config.
  """
  *sizes, dcn_axis, num_slices = [*mesh.split(","), "data", "0"][:5]
  config, number = configured(case), CASES[case][0]
  config.update(fields)
  stage = stages.from_config(config, number)
  mesh = sharding.make_mesh(*map(int, sizes), dcn_axis=dcn_axis, num_slices=int(num_slices))
  program = Program(config, stage, VARIANT, mesh, num_identities=NUM_IDENTITIES, steps_per_epoch=NUM_STEPS)
  return stage, mesh, program


def draw_batch(step, captions_per_image):
  """Returns a random whole batch of a step, in the form of `loader.Batches`."""
  rng = np.random.default_rng(step)
  num_images = BATCH_SIZE // captions_per_image
  tokens = rng.integers(1, VARIANT.end_token - 1, (BATCH_SIZE, VARIANT.text_length), np.int32)
  ends = rng.integers(3, VARIANT.text_length, (BATCH_SIZE, 1))
  positions = np.arange(VARIANT.text_length)
  tokens[positions == ends] = VARIANT.end_token
  tokens[positions > ends] = 0
  return {
    "images": rng.integers(0, 256, (num_images, *SIZE, 3), np.uint8),
    "tokens": tokens,
    "person_id": rng.integers(0, NUM_IDENTITIES, num_images, np.int32).repeat(captions_per_image),
  }


def draw_variables(shapes):
  """Returns random variables of these shapes; biases are not zero, which would hide mistakes."""
  rng = np.random.default_rng(1)

  def values(path, leaf):
    return jnp.asarray(0.1 * rng.standard_normal(leaf.shape) + (path[-1].key == "scale"), jnp.float32)

  return jax.tree_util.tree_map_with_path(values, shapes)


def compute(case, mesh):
  """Returns {name: array} for NUM_STEPS training steps.

  "loss": f32[NUM_STEPS]. "gradient/PATH": Adam's first moment after step 0, which is the gradient, including weight
  decay, times 1 - beta. "weight/PATH": trained variables after the last step. "learning_rate": maximum learning rate of
  weights or prompts. "bytes/KIND", per device: "arguments" of the compiled step, those "aliased" with its outputs, its
  "temporaries", and, by the sharding rules, "state" and "batch". "is_in_place": whether state and metrics have the
  expected shardings after a step and the previous state is deleted. "has_whole_logits": whether a device has the logits
  of all images and captions at once.
  """
  mesh_name = mesh
  stage, mesh, program = build(case, mesh_name)

  def put(step):
    batch = draw_batch(step, stage.captions_per_image)
    shard = {name: array[sharding.process_batch_indices(mesh, len(array))] for name, array in batch.items()}
    return sharding.put_batch(mesh, shard)

  variables = sharding.put_tree(draw_variables(program.shapes.variables), program.shardings.variables)
  state, losses = program.first_state(variables), []
  step = program.step().lower(state, put(0)).compile()
  # A process that waits for another inside a program times out after 30 s.
  multihost.get_barrier_sync_fn()(key=f"compiled {case} {mesh_name}", timeout_ms=COMPILE_TIMEOUT_MS)
  results = {"learning_rate": stage.learning_rate, **count_bytes(step, state, put(0))}
  results["has_whole_logits"] = f"f32[{BATCH_SIZE},{BATCH_SIZE}]" in step.as_text()
  for number in range(NUM_STEPS):
    before = state
    state, metrics = step(before, put(number))
    losses.append(metrics["loss/total"])
    if number == 0:
      results |= named("gradient", moments(state.optimizer), mesh)
      results["is_in_place"] = (
        jax.tree.all(jax.tree.map(lambda leaf, expected: leaf.sharding == expected, state, program.shardings))
        and all(metric.is_fully_replicated for metric in metrics.values())
        and all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
      )
  trained, _ = stages.partition(state.variables, program.labels)
  return results | named("weight", trained, mesh) | {"loss": np.array(losses)}


def count_bytes(step, state, batch):
  memory = step.memory_analysis()
  return {
    "bytes/arguments": memory.argument_size_in_bytes,
    "bytes/aliased": memory.alias_size_in_bytes,
    "bytes/temporaries": memory.temp_size_in_bytes,
    **{f"bytes/{name}": bytes_per_device(tree) for name, tree in (("state", state), ("batch", batch))},
  }


def bytes_per_device(tree):
  return sum(
    leaf.dtype.itemsize * np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=int) for leaf in jax.tree.leaves(tree)
  )


def moments(optimizer):
  """Returns {path of the weight: first moment} from an optimizer state of `optimizers.make_optimizer`."""
  paths = {stages.path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(optimizer)}
  return {path.partition("/mu/")[2]: leaf for path, leaf in paths.items() if "/mu/" in path}


def named(kind, tree, mesh):
  """Returns {"KIND/PATH": array} of a tree that is sharded over a mesh."""
  replicated = jax.jit(lambda tree: tree, out_shardings=sharding.replicated(mesh))(tree)
  return {
    f"{kind}/{stages.path_string(path)}": np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(replicated)
  }


def main(_):
  distributed.initialize(flags.FLAGS)
  compilation_cache.enable_persistent_cache()
  for run in flags.FLAGS.run:
    results = compute(*run.split(":"))
    if distributed.is_first():
      np.savez(f"{flags.FLAGS.to}/{run}.npz", **results)


if __name__ == "__main__":
  flags.DEFINE_string("to", "", "folder for RUN.npz")
  flags.DEFINE_multi_string("run", [], "CASE:MESH")
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
