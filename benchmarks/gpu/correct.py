"""Whether what a GPU computes is right: against values stored in tests/testdata, each within its tests' tolerance.

Each function returns a row: "ok", the largest difference and its bound, and what it is of.
"""

import json
import pathlib
import tempfile

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.gpu import cases
from tests import agreement, exports
from tests.models import parity
from tireid_jax import losses, metrics
from tireid_jax.data.transforms.augment import normalise
from tireid_jax.exporting import encoders
from tireid_jax.parallel import sharding
from tireid_jax.training import stages
from tireid_jax.workdir import checkpoint

GOLDEN = cases.TESTDATA / "gpu/golden.npz"
# Of the first step in float32 on another device: sums in another order.
FLOAT32_BOUND = 1e-4
# How much further from the stored float32 bfloat16 may be here than on the CPU where that was stored, beyond a floor
# below which a difference is chance.
BFLOAT16_FACTOR, BFLOAT16_FLOOR = 1.5, 2e-3


def compared(difference, bound, detail, **others):
  """Returns a row; a difference that is not a number is not ok."""
  return {
    "ok": bool(difference <= bound), "difference": float(difference), "bound": float(bound), "detail": detail, **others
  }  # fmt: skip


def golden(case):
  """Returns {name: array} of a case of golden.npz."""
  with np.load(GOLDEN) as arrays:
    return {name.removeprefix(f"{case}/"): arrays[name] for name in arrays.files if name.startswith(f"{case}/")}


def relative(found, expected):
  """Returns the largest difference of two arrays over the largest value of the expected one."""
  found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def worst(differences):
  """Returns (largest value, its name) of {name: difference}; one that is not a number is the largest."""
  return max((np.inf if np.isnan(value) else value, name) for name, value in differences.items())


def parity_float32(name, seed):
  """Every block and both embeddings against transformers' outputs, in float32."""
  with tempfile.TemporaryDirectory() as folder, cases.full_precision():
    *inputs, reference = cases.stored_parity(pathlib.Path(folder), name, seed)
    difference, where = worst(parity.distances(parity.outputs(*inputs), reference))
  return compared(difference, parity.BOUND, where)


def parity_bfloat16(seed):
  """The same in bfloat16, no further from float32 than on a CPU."""
  with tempfile.TemporaryDirectory() as folder:
    found = cases.bfloat16_distances(pathlib.Path(folder), seed)
  stored = golden(f"bfloat16_{seed}")
  difference, where = worst({name: found[name] / stored[name] for name in stored})
  row = compared(difference, BFLOAT16_FACTOR, f"{where}, in distances on a CPU", distances=found)
  return {**row, "ok": row["ok"] and max(found.values()) < parity.BFLOAT16_BOUND}


def loss_values():
  """Values and gradients of every loss against the reference implementation's."""
  expected = json.loads((cases.TESTDATA / "losses.json").read_text())["cases"]["repeated_ids"]
  with np.load(cases.TESTDATA / "losses.npz") as arrays:
    stored = {name.removeprefix("repeated_ids/"): arrays[name] for name in arrays.files}
  functions = {
    "sdm": lambda a, b: losses.sdm_loss(a, b, stored["pids"], temperature=0.02),
    "itc": lambda a, b: losses.itc_loss(a, b, temperature=0.02),
    "cmpm": lambda a, b: losses.cmpm_loss(a, b, stored["pids"]),
    "id": lambda a, b: losses.identity_loss(a, b, stored["labels"]),
  }
  differences = {}
  for name, function in functions.items():
    suffix = "_logits" if name == "id" else ""
    operands = [jnp.asarray(stored[f"{side}{suffix}"]) for side in ("image", "text")]
    value, gradients = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(*operands)
    differences[name] = relative(value, expected[name]["float32"])
    for side, gradient in zip(("image", "text"), gradients, strict=True):
      differences[f"{name}, gradient of {side}"] = relative(gradient, stored[f"{name}/grad_{side}{suffix}"])
  return compared(*_bounded(differences, 1e-5))


def metric_values():
  """R@k, mAP and mINP against the reference implementation's."""
  stored = json.loads((cases.TESTDATA / "metrics.json").read_text())["cases"]
  renamed = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "mAP": "mAP", "mINP": "mINP"}
  differences = {}
  for case, values in stored.items():
    with np.load(cases.TESTDATA / "metrics.npz") as arrays:
      inputs = [arrays[f"{case}/{name}"] for name in ("similarity", "query_ids", "gallery_ids")]
    found = metrics.rank_metrics(*inputs)
    for ours, theirs in renamed.items():
      differences[f"{case}, {ours}"] = abs(found[ours] - values["ties_by_lowest_index"][theirs])
  return compared(*_bounded(differences, 1e-4))


def prompted_encoders():
  """Embeddings of a CLIP with prompts, in float32, against a CPU's."""
  found, stored = cases.prompted_embeddings(), golden("prompted")
  return compared(*_bounded({name: relative(found[name], stored[name]) for name in stored}, parity.BOUND))


def twenty_steps(stage):
  """20 steps in float32 against a CPU's, within the tolerances of tests/mesh_runs_test.py."""
  found, stored = cases.steps(f"stage{stage}"), golden(f"stage{stage}")
  differences = {
    "loss": {"loss": float(np.abs(found["loss"] / stored["loss"] - 1).max())},
    "gradient": {},
    "weight": {},
  }
  for name, leaf in stored.items():
    kind = name.partition("/")[0]
    is_key_bias = name.endswith("attn/key/bias")  # whose gradient is 0 but for rounding, of which Adam makes steps
    if kind == "gradient":
      scale = stored[f"scale/{name.replace('/key/', '/query/') if is_key_bias else name}"]
      differences[kind][name] = float(np.abs(found[name] - leaf).max() / scale)
    elif kind == "weight" and not is_key_bias:
      differences[kind][name] = float(np.abs(found[name] - leaf).max() / stored["learning_rate"])
  bounds = {"loss": 1e-5, "gradient": 1e-5, "weight": 0.2}
  largest = {kind: worst(values) for kind, values in differences.items()}
  fractions = {kind: value / bounds[kind] for kind, (value, _) in largest.items()}
  kind = max(fractions, key=lambda name: fractions[name])
  return compared(
    fractions[kind], 1.0, f"{largest[kind][1]}, in bounds of tests/mesh_runs_test.py",
    **{f"{name}_difference": value for name, (value, _) in largest.items()},
  )  # fmt: skip


def first_step(precision, is_short=False):
  """Losses and gradient norms of a step of ViT-B/16 against a CPU's in float32."""
  small = {"variant": "tiny", "image_size": (96, 48)} if is_short else {}
  prefix = "short_" if is_short else ""
  found, stored = cases.first_step(precision, **small), golden(f"{prefix}first_step_float32")
  differences = {name: relative(found[name], stored[name]) for name in stored}
  values = {name: float(value) for name, value in found.items()}
  if precision == "float32":
    return compared(*_bounded(differences, FLOAT32_BOUND), found=values)
  on_cpu = golden(f"{prefix}first_step_bfloat16")
  allowed = {name: max(BFLOAT16_FLOOR, BFLOAT16_FACTOR * relative(on_cpu[name], stored[name])) for name in stored}
  difference, where = worst({name: differences[name] / allowed[name] for name in stored})
  return compared(difference, 1.0, f"{where}, in what a CPU's allows", found=values, differences=differences)


def resume(deterministic, keeps_programs, case="stage2", num_steps=6):
  """A run that is saved and restored half-way against one that was not, bit for bit.

  Args:
    deterministic: as the config's field, without which nothing is promised, and what is found is reported.
    keeps_programs: whether the resumed half finds the compiled step in the compilation cache, as a run on the same
      machine does; else it is recompiled and autotuned again.
    case: of tests/agreement.py.
    num_steps: in all.
  """
  stage, mesh, program = agreement.build(case, "1,1,1", deterministic=deterministic)
  variables = sharding.put_tree(agreement.draw_variables(program.shapes.variables), program.shardings.variables)
  batches = [
    sharding.put_batch(mesh, agreement.draw_batch(number, stage.captions_per_image)) for number in range(num_steps)
  ]
  half, step = num_steps // 2, program.step()
  state = _advance(step, program.first_state(variables), batches[:half])
  with tempfile.TemporaryDirectory() as folder:
    with checkpoint.Checkpoints(folder) as checkpoints:
      checkpoints.save(state, {})
    straight = jax.tree.map(np.asarray, _advance(step, state, batches[half:]).variables)
    with checkpoint.Checkpoints(folder) as checkpoints:
      restored, _ = checkpoints.restore(program.shapes)
  step = _compiled_again(program, batches[0], keeps_programs)
  resumed = jax.tree.map(np.asarray, _advance(step, restored, batches[half:]).variables)
  differences = {
    stages.path_string(path): float(np.abs(a - b).max())
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(straight), jax.tree.leaves(resumed), strict=True)
  }
  difference, where = worst(differences)
  unequal = sum(value > 0 for value in differences.values())
  row = compared(difference, 0.0, f"{unequal} of {len(differences)} leaves differ, most {where}")
  return row if deterministic else {**row, "ok": True, "is_bit_equal": unequal == 0}


def _advance(step, state, batches):
  for batch in batches:
    state, _ = step(state, batch)
  return state


def _compiled_again(program, batch, keeps_programs):
  """Returns the compiled step of a program as another process would get it."""
  jax.clear_caches()
  jax.config.update("jax_enable_compilation_cache", keeps_programs)
  compilation_cache.reset_cache()  # which remembers whether it is used
  try:
    return program.step().lower(program.shapes, batch).compile()
  finally:
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


def export_and_reload():
  """Exported encoders, read back and run on this device, against the model."""
  model, variables = exports.random_clip(cases.SIZE, exports.PROMPTS)
  weights, prompts = encoders.to_tensors(model, variables)
  tensors = {**weights, **prompts}
  inputs = {"image_encoder": exports.images(3, cases.SIZE), "text_encoder": exports.tokens(3)}
  differences = {}
  with cases.full_precision():
    expected = jax.jit(lambda v, x, t: model.apply(v, normalise(x), t))(variables, *inputs.values())
    for (encoder, batch), embeddings in zip(inputs.items(), expected, strict=True):
      program = jax.export.deserialize(bytearray(encoders.serialize_encoder(model, variables, encoder, "float32")))
      (names, _), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
      differences[encoder] = relative(program.call({name: tensors[name] for name in names}, batch), embeddings)
  return compared(*_bounded(differences, 1e-5))


def evaluation():
  """R@k, mAP and mINP of synthetic images and captions against a CPU's, in percentage points."""
  found, stored = cases.evaluation(), golden("evaluation")
  return compared(*_bounded({name: abs(float(found[name] - stored[name])) for name in stored}, 0.01))


def _bounded(differences, bound):
  """Returns (largest difference, bound, its name)."""
  difference, where = worst(differences)
  return difference, bound, where
