"""Compares results on a GPU with values stored in tests/testdata, within the tolerances of the tests.

Each function returns "ok", the largest difference, its bound, and the name of the value that differs most.
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
# Of the first step in float32 on another device, which sums in a different order.
FLOAT32_BOUND = 1e-4
# Maximum ratio of the bfloat16 error here to that on the CPU, both relative to stored float32 values. Errors below the
# floor are noise.
BFLOAT16_FACTOR, BFLOAT16_FLOOR = 1.5, 2e-3
# The same of the norms of a step's gradients, whose errors differ by a factor of 2.3 between two kinds of CPUs.
BFLOAT16_STEP_FACTOR = 4.0


def compared(difference, bound, detail, **others):
  """Returns the result of a check; NaN is not ok."""
  return {
    "ok": bool(difference <= bound), "difference": float(difference), "bound": float(bound), "detail": detail, **others
  }  # fmt: skip


def golden(case):
  """Returns {name: array} of a case of golden.npz."""
  with np.load(GOLDEN) as arrays:
    return {name.removeprefix(f"{case}/"): arrays[name] for name in arrays.files if name.startswith(f"{case}/")}


def relative(found, expected):
  """Returns the largest difference of two arrays relative to the largest expected value."""
  found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def worst(differences):
  """Returns (largest value, its name) of {name: difference}; NaN counts as the largest."""
  return max((np.inf if np.isnan(value) else value, name) for name, value in differences.items())


def parity_float32(name, seed):
  """Every block and both embeddings against transformers' outputs, in float32."""
  with tempfile.TemporaryDirectory() as folder, cases.full_precision():
    *inputs, reference = cases.stored_parity(pathlib.Path(folder), name, seed)
    difference, where = worst(parity.distances(parity.outputs(*inputs), reference))
  return compared(difference, parity.BOUND, where)


def parity_bfloat16(seed):
  """The same in bfloat16: the error relative to float32 must not exceed that on a CPU."""
  with tempfile.TemporaryDirectory() as folder:
    found = cases.bfloat16_distances(pathlib.Path(folder), seed)
  stored = golden(f"bfloat16_{seed}")
  difference, where = worst({name: found[name] / stored[name] for name in stored})
  row = compared(difference, BFLOAT16_FACTOR, f"{where}, relative to the error on a CPU", distances=found)
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
    # The gradient of a key bias is only rounding error, which Adam scales up to full steps.
    is_key_bias = name.endswith("attn/key/bias")
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
    fractions[kind], 1.0, f"{largest[kind][1]}, relative to the bounds of tests/mesh_runs_test.py",
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
  allowed = {name: max(BFLOAT16_FLOOR, BFLOAT16_STEP_FACTOR * relative(on_cpu[name], stored[name])) for name in stored}
  difference, where = worst({name: differences[name] / allowed[name] for name in stored})
  return compared(
    difference, 1.0, f"{where}, relative to the error allowed by the CPU's", found=values, differences=differences
  )


def resume(deterministic, keeps_programs, case="stage2", num_steps=6):
  """A run that is saved and restored half-way against an uninterrupted one, bit for bit.

  Args:
    deterministic: the config field. Without it, equality is not guaranteed, and the difference is only reported.
    keeps_programs: whether the resumed half finds the compiled step in the compilation cache, as on the same machine;
      otherwise it is recompiled and autotuned again.
    case: of tests/agreement.py.
    num_steps: of the whole run.
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
  step = _compile_anew(program, batches[0], keeps_programs)
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


def _compile_anew(program, batch, keeps_programs):
  """Returns the compiled step of a program as a new process would get it."""
  jax.clear_caches()
  jax.config.update("jax_enable_compilation_cache", keeps_programs)
  compilation_cache.reset_cache()  # it remembers whether the cache is enabled
  try:
    return program.step().lower(program.shapes, batch).compile()
  finally:
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


def export_and_reload():
  """Exported encoders, loaded and run on this device, against the model."""
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
