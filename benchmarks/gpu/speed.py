"""Training steps: pairs per second, fraction of the GPU's matrix rate, memory."""

import functools
import gc
import time

import jax
import numpy as np

from benchmarks import step as step_benchmark
from benchmarks.gpu import cases
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.plan import costs, hlo
from tireid_jax.training import initialization
from tireid_jax.training.program import Program

IMAGE_SIZES = {"tiny": (96, 48)}
WARM_UP, WINDOWS = 3, 3
# Duration of one window of steps, timed as a whole so that no step waits for the host.
WINDOW_S = 0.7

# {key: TrainState} of the last step that ran: consecutive steps of the same model and stage reuse the state.
_states: dict = {}


def build(args, variant, **model):
  """Returns (config, Stage, Program, Mesh) of benchmarks/step.py's arguments, with fields of config.model changed."""
  config, stage = step_benchmark.configured(args)
  config.data.image_size = IMAGE_SIZES.get(variant, config.data.image_size)
  config.model.update({"variant": variant, **{name: value for name, value in model.items() if name in config.model}})
  config.deterministic = model.get("deterministic", False)
  mesh = sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  program = Program(
    config, stage, VARIANTS[variant], mesh, num_identities=step_benchmark.NUM_IDENTITIES, steps_per_epoch=1000
  )
  return config, stage, program, mesh


def model_flops(args, variant):
  """Returns (FLOPs of a step's matrix products, the same including those that the last blocks skip).

  Counted in a program with XLA's attention and without rematerialisation, whatever the timed step uses: the compiler
  does not see matrix products in cuDNN's attention, and recomputation is not useful work.
  """
  plain = {**vars(args), "precision": "bfloat16", "blocks": "loop", "remat": "none"}
  return _count(variant, **plain)


@functools.cache
def _count(variant, **settings):
  """Implements `model_flops`, cached by the settings that affect the count."""
  plain = cases.step_settings(**settings)
  config, stage, program, mesh = build(plain, variant, attention="xla")
  batch = sharding.put_batch(mesh, step_benchmark.random_batch(plain, config))
  text = program.step().lower(program.shapes, batch).as_text(dialect="hlo")
  flops = costs.matrix_flops(hlo.Module(text))
  return flops, flops + step_benchmark.skipped_flops(program.model, batch, 3 if "params" in stage.trains else 2)


class Prepared:
  """A training step, compiled on construction, and its batch; nothing has run yet."""

  def __init__(self, variant, stage, batch_size, compiled_together, choices):
    prompts = {name: choices.pop(name) for name in ("prompt_length", "prompt_depth") if name in choices}
    blocks = {name: choices.pop(name) for name in ("blocks", "remat") if name in choices}
    self.args = cases.step_settings(stage=stage, batch_size=batch_size, **prompts, **blocks)
    self.config, self.stage, self.program, self.mesh = build(self.args, variant, **choices)
    self.key = (variant, stage, tuple(sorted(prompts.items())))
    self.variant = variant
    self.batch = step_benchmark.random_batch(self.args, self.config)
    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in self.batch.items()}
    began = time.perf_counter()
    lowered = self.program.step().lower(self.program.shapes, shapes)
    traced = time.perf_counter()
    self.step = lowered.compile()
    self.compiling = {
      "trace_s": round(traced - began, 1), "compile_s": round(time.perf_counter() - traced, 1),
      "compiled_together": compiled_together,
    }  # fmt: skip

  def state(self):
    """Returns the TrainState to start from."""
    if self.key not in _states:
      _states.clear()
      gc.collect()
      initialize = jax.jit(
        lambda: initialization.random_variables(self.program.model, self.program.key, self.program.num_identities)
      )  # fmt: skip
      return self.program.first_state(initialize())
    return _states.pop(self.key)

  def measure(self):
    """Times the step and returns its result."""
    flops, all_flops = model_flops(self.args, self.variant)
    state, batch = self.state(), sharding.put_batch(self.mesh, self.batch)
    seconds, state, metrics = timed(self.step, state, batch)
    _states[self.key] = state
    size, median = self.args.batch_size, float(np.median(seconds))
    rate = matrix_rate()
    execution = self.program.model.execution
    return {
      **memory(self.step),
      **self.compiling,
      "step_ms": round(1e3 * median, 3),
      "step_ms_windows": [round(1e3 * value, 3) for value in seconds],
      "pairs_per_s": round(size / median, 2),
      "model_tflop": round(all_flops / 1e12, 4),
      "computed_tflop": round(flops / 1e12, 4),
      "fraction_of_rate": round(all_flops / median / rate, 4),
      "computed_fraction_of_rate": round(flops / median / rate, 4),
      "attention": execution.attention,
      "blocks": "loop" if execution.scan_blocks else "unrolled",
      "remat": execution.remat,
      "dtype": np.dtype(execution.dtype).name,
      "loss": float(metrics["loss/total"]),
    }


def matrix_rate():
  """Returns the FLOP/s that fractions are relative to: bfloat16 products, in this process."""
  from benchmarks.gpu import card

  return card.matrix_rate(8192 if jax.default_backend() == "gpu" else 256, "bfloat16")


def timed(step, state, batch):
  """Returns (seconds per step of each window, state, metrics)."""
  for _ in range(WARM_UP):
    began = time.perf_counter()
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    once = time.perf_counter() - began
  number = max(2, round(WINDOW_S / once))
  seconds = []
  for _ in range(WINDOWS):
    began = time.perf_counter()
    for _ in range(number):
      state, metrics = step(state, batch)
    jax.block_until_ready((state, metrics))
    seconds.append((time.perf_counter() - began) / number)
  return seconds, state, metrics


def memory(step):
  """Returns the memory that a compiled step needs, and the peak memory of this process."""
  stats = step.memory_analysis()
  needed = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
  return {
    "memory_gib": round((needed + stats.temp_size_in_bytes) / 2**30, 3),
    "temporaries_gib": round(stats.temp_size_in_bytes / 2**30, 3),
    "process_peak_gib": round(peak / 2**30, 3),
  }


def step(variant, stage, batch_size, compiled_together=1, **choices):
  """Returns the Prepared step of a measurement.

  Args:
    variant: of models/variants.py.
    stage: 1 or 2.
    batch_size: pairs.
    compiled_together: steps that are compiled at the same time as this one, itself included.
    choices: prompt_length, prompt_depth, blocks, remat, attention, deterministic.
  """
  return Prepared(variant, stage, batch_size, compiled_together, choices)
