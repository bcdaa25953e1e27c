"""Measures rows in this process, and prints a line of JSON as each begins and when it is done.

  python -m benchmarks.gpu.worker --cache=FOLDER [--short] KEY...

`benchmarks.gpu` starts it, so that a row that hangs, or takes the process down, costs no more than itself.
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

from benchmarks.gpu import caches, results
from benchmarks.gpu import rows as plan

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")
# Steps that are compiled at a time, in threads, before any of them is timed: XLA compiles in one thread for most of it.
AHEAD = 3
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


def describe():
  """Returns what this process measures on."""
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
  """Returns what Row.call names."""
  module, _, name = call.partition(".")
  return getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)


def measure(row, function):
  """Returns the result of a row: what `function` returns, or why it returned nothing."""
  began = time.monotonic()
  try:
    values = {"status": results.DONE, **function()}
  # An error in one row must not prevent the others from being measured; it is reported in the row.
  except Exception as error:
    reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
    values = {"status": results.FAILED, "reason": reason}
    if OUT_OF_MEMORY in str(error):
      values = {"status": results.DONE, "fits": False, "reason": reason}
  return {**values, "settings": row.settings, "row_s": round(time.monotonic() - began, 1)}


def too_large(row, unfit):
  """Whether a smaller one of the row's series did not fit; `unfit` is {series: batch size}."""
  return row.series in unfit and row.settings["batch_size"] > unfit[row.series]


def chunks(wanted):
  """Yields lists of consecutive rows: steps by AHEAD, so that they are compiled together, and all others alone."""
  chunk: list = []
  for row in wanted:
    if chunk and (row.call != chunk[0].call or len(chunk) == AHEAD):
      yield chunk
      chunk = []
    chunk.append(row)
    if row.call != "speed.step":
      yield chunk
      chunk = []
  if chunk:
    yield chunk


def run(wanted, emit):
  """Measures rows and calls emit({...}) for each begin and end."""
  unfit: dict[str, int] = {}
  for chunk in chunks(wanted):
    chunk = [row for row in chunk if not too_large(row, unfit)]
    for row in chunk:
      emit({"begin": row.key})
    with concurrent.futures.ThreadPoolExecutor(max_workers=AHEAD) as pool:
      # Only steps are prepared apart; a row alone is not worth a thread.
      prepared = [
        pool.submit(_prepare, row, len(chunk)) if row.call == "speed.step" else None for row in chunk
      ]  # fmt: skip
    for row, preparing in zip(chunk, prepared, strict=True):
      if too_large(row, unfit):
        continue
      result = measure(row, functools.partial(_compute, row, preparing))
      if row.series and result.get("fits") is False:
        unfit[row.series] = row.settings["batch_size"]
      emit({"row": row.key, "result": result})


def _compute(row, preparing):
  """Returns the values of a row: those of its function, or of the step that a thread has prepared."""
  return preparing.result().measure() if preparing else resolve(row.call)(**row.settings)


def _prepare(row, compiled_together):
  return resolve(row.call)(compiled_together=compiled_together, **row.settings)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--cache", required=True, help="folder of compiled programs and autotuning results")
  parser.add_argument("--short", action="store_true")
  parser.add_argument("keys", nargs="+")
  args = parser.parse_args()
  caches.use(args.cache)
  output, sys.stdout = sys.stdout, sys.stderr  # whatever a row prints is no line of ours

  def emit(line):
    print(json.dumps(line), file=output, flush=True)

  emit({"machine": describe()})
  rows = {row.key: row for row in (plan.SHORT if args.short else plan.FULL)}
  run([rows[key] for key in args.keys], emit)


if __name__ == "__main__":
  main()
