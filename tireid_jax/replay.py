"""Repeats a training step that produced non-finite values, and reports where the first of them appears.

python -m tireid_jax.replay W/stage1/diverged/137

A run that stops at such a step writes a dump: the state before the step, the batch and the config. This command prints
the losses and gradient norms of the run next to those of the repeated step, and where the first non-finite value
appears: in the weights before the step, in the output of a layer (and for which examples), in a loss, in the gradient
of a layer, or in the weights after the step. The exit status is 0 if the failure is reproduced, else 1.
"""

import dataclasses
import math
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tireid_jax import cli
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.models import variants
from tireid_jax.parallel import sharding
from tireid_jax.storage import compilation_cache
from tireid_jax.terminal.table import format_table
from tireid_jax.training import dump, stages
from tireid_jax.training.program import Program
from tireid_jax.training.stages import FROZEN, partition, path_string

# Name of the module whose blocks have stacked weights and outputs.
_STACKED = "blocks"
_FLAG = "is_finite"
# Number of names that a message lists; the rest are only counted.
_NUM_NAMED = 8


def main(argv):
  compilation_cache.enable_persistent_cache()
  if len(argv) != 2:
    raise UserError("give the dump, as in python -m tireid_jax.replay WORKDIR/stage1/diverged/STEP")
  metadata = dump.read_metadata(argv[1])
  program, mesh = _build(metadata)
  print(
    f"stage {metadata['stage']}, step {metadata['step'] + 1}, {metadata['dataset']}, {len(metadata['examples'])} "
    f"captions, {metadata['program']['precision']}, on {mesh.size} {sharding.platform(mesh)} device(s)"
  )
  state, batch = dump.read(argv[1], mesh, program.shapes)
  before = _not_finite(state.variables)
  order, layers = _layers(program, state, batch)
  state, found = program.step()(state, batch)  # donates the old state
  after = _not_finite(state.variables)
  metrics = {name: float(value) for name, value in found.items()}
  logged = metadata["metrics"] or dict.fromkeys(metrics, "finite")
  print(format_table([{"": name, "run": logged[name], "replay": str(metrics[name])} for name in metrics]))
  gradients = []
  is_backward = all(is_finite.all() for is_finite in layers.values()) and math.isfinite(metrics["loss/total"])
  if is_backward and not all(map(math.isfinite, metrics.values())):
    gradients = _gradients(program, *dump.read(argv[1], mesh, program.shapes))
    for group, paths in _by_group(program.labels, gradients).items():
      print(f"non-finite gradients, {group}: {_some(paths)}")
  first = _first(before, order, layers, metrics, gradients, after, metadata["examples"])
  if first is None:
    print("not reproduced: every value of the replay is finite")
    sys.exit(1)
  print(f"the first non-finite value is in {first}")
  print("reproduced: the replay has non-finite values too")


def _build(metadata):
  """Returns (Program, Mesh) of a dump: on the mesh of the run if the number of devices matches, else on one device."""
  config, stored = config_lib.from_json(metadata["config"]), metadata["program"]
  sizes = stored["mesh"]
  fits = math.prod(sizes.values()) == jax.device_count()
  mesh = sharding.make_mesh(**sizes) if fits else sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  config.model.attention = stored["attention"] if sharding.platform(mesh) == stored["platform"] else "auto"
  config[f"stage{metadata['stage']}"].precision = stored["precision"]
  stage = stages.from_config(config, metadata["stage"])
  return Program(
    config, stage, variants.from_json(metadata["variant"]), mesh, num_identities=stored["num_identities"],
    steps_per_epoch=stored["steps_per_epoch"],
  ), mesh  # fmt: skip


class _Watched:
  """A model that records the order of its layers and, for each example, which of their outputs are finite."""

  def __init__(self, model):
    # Without gathering of sharded weights and rematerialisation, which only matter for memory and gradients.
    self._model = model.clone(execution=dataclasses.replace(model.execution, gather=None, remat="none"))
    self.order, self.is_finite = [], {}

  def apply(self, variables, images, tokens, **keywords):
    def record(call, arguments, keywords, context):
      result = call(*arguments, **keywords)
      path = "/".join(context.module.path)
      if path and context.method_name == "__call__":
        output = result[0] if isinstance(result, tuple) else result
        # Only the flags are stored, since the outputs would need many times the memory of the step.
        context.module.sow("intermediates", _FLAG, _each(jnp.isfinite(output), 1))
        if path not in self.order:
          self.order.append(path)  # after the call, so that submodules precede their parent
      return result

    with nn.intercept_methods(record):
      result, found = self._model.apply(variables, images, tokens, mutable=["intermediates"], **keywords)
    self.order.insert(0, "image_encoder/images")
    self.is_finite = {"image_encoder/images": _each(jnp.isfinite(images), 1)} | {
      path_string(path).partition(f"/{_FLAG}")[0]: is_finite
      for path, is_finite in jax.tree_util.tree_leaves_with_path(found["intermediates"])
    }
    return result


def _each(is_finite, num_axes):
  """Returns bool[...] over the first `num_axes` axes: whether all values along the other axes are finite."""
  return jnp.all(is_finite, tuple(range(num_axes, is_finite.ndim)))


def _layers(program, state, batch):
  """Returns ([layer], {layer: bool[B]}) in the order of computation; each of the stacked blocks is a layer."""
  watched = _Watched(program.model)
  loss = program.loss(watched, num_chunks=1)

  def forward(state, batch):
    trained, frozen = partition(state.variables, program.labels)
    loss(trained, frozen, batch, jax.random.fold_in(program.key, state.step))
    return watched.is_finite

  found = jax.device_get(jax.jit(forward)(state, batch))
  order, layers = [], {}
  for name in watched.order:
    stack = _stack(name)
    if stack is None:
      order.append(name)
      layers[name] = found[name]
    elif stack not in {_stack(other) for other in watched.order[: watched.order.index(name)]}:
      inside = [other for other in watched.order if _stack(other) == stack]
      for block in range(len(found[name])):
        for other in inside:
          order.append(_of_block(other, block))
          layers[order[-1]] = found[other][block]
  return order, layers


def _stack(name):
  """Returns the path of the stack of blocks that a layer belongs to, or None."""
  before, found, _ = f"{name}/".partition(f"/{_STACKED}/")
  return before if found else None


def _of_block(name, block):
  return f"{name}/".replace(f"/{_STACKED}/", f"/{_STACKED}[{block}]/").rstrip("/")


def _gradients(program, state, batch):
  """Returns the paths of non-finite gradients; stacked blocks are named individually."""
  loss = program.loss()

  def flags_of(state, batch):
    trained, frozen = partition(state.variables, program.labels)
    key = jax.random.fold_in(program.key, state.step)
    return _flags(jax.grad(loss, has_aux=True)(trained, frozen, batch, key)[0])

  return _names(jax.jit(flags_of)(state, batch))


def _not_finite(variables):
  """Returns the paths of non-finite arrays; stacked blocks are named individually."""
  return _names(jax.jit(_flags)(variables))


def _flags(tree):
  return {
    name: _each(jnp.isfinite(leaf), 0 if _stack(name) is None else 1)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    for name in [path_string(path)]
  }


def _names(flags):
  return [
    name if value.ndim == 0 else _of_block(name, block)
    for name, value in jax.device_get(flags).items()
    for block in np.flatnonzero(~np.atleast_1d(value))
  ]


def _by_group(labels, paths):
  """Returns {parameter group: [path]}."""
  group_of = {path_string(path): label for path, label in jax.tree_util.tree_leaves_with_path(labels)}
  groups: dict[str, list[str]] = {}
  for path in paths:
    before, _, rest = path.partition(f"/{_STACKED}[")
    whole = f"{before}/{_STACKED}/{rest.partition(']/')[2]}" if rest else path
    groups.setdefault(group_of[whole], []).append(path)
  return {group: found for group, found in groups.items() if group != FROZEN}


def _first(before, order, layers, metrics, gradients, after, examples):
  """Returns a description of where the first non-finite value appears, or None."""
  if before:
    return f"the weights before the step: {_some(before)}"
  for name in order:
    if not layers[name].all():
      return f"the output of {name}, {_described(name, layers[name], examples)}"
  losses = [name for name, value in metrics.items() if name.startswith("loss/") and not math.isfinite(value)]
  if losses:  # the total is reported only if all of its terms are finite
    return f"{_some([name for name in losses if name != 'loss/total'] or losses)}; every layer's output is finite"
  if gradients:
    # The last layer of the forward pass comes first in the backward pass.
    positions = {name: position for position, name in enumerate(order)}
    last = max(gradients, key=lambda path: positions.get(path.partition("/")[2].rpartition("/")[0], -1))
    return f"the gradient of {last}; every layer's output and every loss is finite"
  norms = [name for name, value in metrics.items() if not math.isfinite(value)]
  if norms:
    return f"{_some(norms)}: each gradient is finite, but its square overflows"
  return f"the weights after the step: {_some(after)}; losses and gradients are finite" if after else None


def _described(name, is_finite, examples):
  """Returns a description of the examples for which a layer's output is not finite."""
  size = len(examples) // len(is_finite)  # captions per image
  affected = [examples[index * size] for index in np.flatnonzero(~is_finite)]
  is_image = name.startswith("image_encoder")
  named = _some([example["image"] if is_image else str(example["caption"]) for example in affected])
  return f"for {len(affected)} of {len(is_finite)} {'images' if is_image else 'captions'}: {named}"


def _some(names):
  return ", ".join(names[:_NUM_NAMED]) + (f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else "")


if __name__ == "__main__":
  cli.run(main, num_arguments=1)
