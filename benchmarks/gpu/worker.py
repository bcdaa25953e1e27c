"""Runs measurements in this process, and prints a line of JSON when each begins and when it is done.

  python -m benchmarks.gpu.worker --cache=FOLDER [--short] KEY...

`benchmarks.gpu` starts it as a separate process, so that a measurement that hangs or crashes affects no other.
"""

import argparse
import concurrent.futures
import functools
import importlib
import json
import platform
import sys
import time
from importlib import metadata

import jax

from benchmarks.gpu import caches, plan, results

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")
# Number of steps compiled in parallel threads before they are timed: XLA compiles mostly in a single thread.
COMPILED_TOGETHER = 3
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


def describe():
  """Returns a description of the device and the library versions."""
  device = jax.devices()[0]
  return {
    "platform": device.platform,
    "device": device.device_kind if device.platform == "gpu" else "cpu",
    "num_devices": jax.device_count(),
    "runtime": getattr(device.client, "platform_version", ""),
    "python": platform.python_version(),
    "versions": {name: metadata.version(name) for name in LIBRARIES},
  }


def resolve(call):
  """Returns the function that Measurement.call names."""
  module, _, name = call.partition(".")
  return getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)


def measure(measurement, function):
  """Returns the result of a measurement: the values that `function` returns, or why it failed."""
  began = time.monotonic()
  try:
    values = {"status": results.DONE, **function()}
  # An error must not prevent the other measurements; it is reported in the result.
  except Exception as error:
    reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
    values = {"status": results.FAILED, "reason": reason}
    if OUT_OF_MEMORY in str(error):
      values = {"status": results.DONE, "fits": False, "reason": reason}
  return {**values, "settings": measurement.settings, "row_s": round(time.monotonic() - began, 1)}


def too_large(measurement, unfit):
  """Whether a smaller batch of the same series did not fit; `unfit` is {series: batch size}."""
  return measurement.series in unfit and measurement.settings["batch_size"] > unfit[measurement.series]


def chunks(wanted):
  """Yields lists of consecutive measurements: up to COMPILED_TOGETHER steps, and any other measurement alone."""
  chunk: list = []
  for one in wanted:
    if chunk and (one.call != chunk[0].call or len(chunk) == COMPILED_TOGETHER):
      yield chunk
      chunk = []
    chunk.append(one)
    if one.call != "speed.step":
      yield chunk
      chunk = []
  if chunk:
    yield chunk


def run(wanted, emit):
  """Runs measurements and calls emit({...}) when each begins and ends."""
  unfit: dict[str, int] = {}
  for chunk in chunks(wanted):
    chunk = [one for one in chunk if not too_large(one, unfit)]
    for one in chunk:
      emit({"begin": one.key})
    with concurrent.futures.ThreadPoolExecutor(max_workers=COMPILED_TOGETHER) as pool:
      # Only steps are compiled in threads.
      prepared = [
        pool.submit(_prepare, one, len(chunk)) if one.call == "speed.step" else None for one in chunk
      ]  # fmt: skip
    for one, preparing in zip(chunk, prepared, strict=True):
      if too_large(one, unfit):
        continue
      result = measure(one, functools.partial(_compute, one, preparing))
      if one.series and result.get("fits") is False:
        unfit[one.series] = one.settings["batch_size"]
      emit({"row": one.key, "result": result})


def _compute(measurement, preparing):
  """Returns the values of a measurement: from its function, or from the step that a thread has compiled."""
  return preparing.result().measure() if preparing else resolve(measurement.call)(**measurement.settings)


def _prepare(measurement, compiled_together):
  return resolve(measurement.call)(compiled_together=compiled_together, **measurement.settings)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--cache", required=True, help="folder of compiled programs and autotuning results")
  parser.add_argument("--short", action="store_true")
  parser.add_argument("keys", nargs="+")
  args = parser.parse_args()
  caches.use(args.cache)
  output, sys.stdout = sys.stdout, sys.stderr  # so that nothing that a measurement prints is taken for JSON

  def emit(line):
    print(json.dumps(line), file=output, flush=True)

  emit({"machine": describe()})
  measurements = {one.key: one for one in (plan.SHORT if args.short else plan.FULL)}
  run([measurements[key] for key in args.keys], emit)


if __name__ == "__main__":
  main()
