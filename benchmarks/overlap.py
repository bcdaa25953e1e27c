"""Measures whether the device waits for the host, from a trace of a real training run.

  python -m benchmarks.overlap

It traces a training run on the CPU: the tiny model, with 1,000 synthetic photographs read from their records in batches
of 32, and with the usual logging. It measures the last epoch, from the start of the program of its first step to the
end of that of its last, without the checkpoints at both ends; the time between programs is idle. On a CPU, host and
device share the cores, so reading and logging can slow a step; the trace shows whether steps wait for them. Prints a
line of JSON.
"""

import argparse
import json
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import loader, measuring
from configs import cuhk
from tireid_jax.data import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.profiling import trace
from tireid_jax.training import loop

NUM_IMAGES, NUM_TEST_IMAGES = 1_000, 40
SIZE = (96, 48)
NUM_EPOCHS = 4
# Names of trace events: a thread executes its part of a program, waits for the other threads, and calls a step.
EXECUTE, WAIT = "ThunkExecutor::Execute", "ThunkExecutor::Execute (wait for completion)"
CALL = "PjitFunction(train_step)"
# Prefixes of the names of the threads that launch programs, in JAX before 0.12 and since then.
LAUNCHERS = ("tf_XLAPjRtCpuClient", "tf_XLAExecute")


def write_data(folder):
  """Writes a prepared CUHK-PEDES of synthetic photographs to `folder`/data, a few of them for the test split."""
  loader.make_raw(folder / "raw", NUM_IMAGES)
  annotations = folder / "raw" / "CUHK-PEDES" / "reid_raw.json"
  entries = json.loads(annotations.read_text())
  for entry in entries[-NUM_TEST_IMAGES:]:
    entry["split"] = "test"
  annotations.write_text(json.dumps(entries))
  prepare.prepare("cuhk_pedes", folder / "raw", folder / "data", SIZE, show_progress=False)


def configured(folder):
  """Returns the config of a run that is short and has no evaluation between its steps."""
  config = cuhk.get_config()
  config.data_dir, config.data.image_size = str(folder / "data"), SIZE
  config.model.variant, config.select_on = "tiny", "last"
  config.prompts.depth = 2
  config.stage2.update(init_from="random", epochs=NUM_EPOCHS, batch_size=32)
  return config


def spans(folder):
  """Returns f64[N, 2], ascending: begin and end of each program after the first call of a step, ns."""
  lines = [line for _, line in trace.lines(folder)]
  programs = [program for line in lines if line.name.startswith(LAUNCHERS) for program in programs_of(line.events)]
  first = min(event.start_ns for line in lines for event in line.events if event.name == CALL)
  return np.array(sorted(program for program in programs if program[0] > first))


def programs_of(events):
  """Returns [(begin, end)] of the programs that one thread launched, ns, from its events.

  A program is an EXECUTE event, which contains those of its loop bodies, and the WAIT that follows. A small program is
  a WAIT alone.
  """
  found, is_over = [], True
  for event in sorted(events, key=lambda event: event.start_ns):
    begin, end = event.start_ns, event.start_ns + event.duration_ns
    if event.name == EXECUTE and (is_over or begin >= found[-1][1]):
      found.append((begin, end))
      is_over = False
    elif event.name == WAIT:
      found.append((begin, end) if is_over else (found.pop()[0], end))
      is_over = True
  return found


def last_epoch(programs, num_steps):
  """Returns the time per step of the last epoch and the gaps between programs, ms and as a fraction of the time.

  Args:
    programs: f64[N, 2], ns, of a run, from `spans`: its steps in order, with a save and scoring between or after them.
    num_steps: steps of the run, a multiple of NUM_EPOCHS.
  """
  lengths = programs[:, 1] - programs[:, 0]
  # No other program between the steps takes half as long as a step; scoring after them may.
  is_step = lengths > np.median(np.sort(lengths)[-num_steps:]) / 2
  steps = programs[is_step][:num_steps][-num_steps // NUM_EPOCHS :]
  within = programs[(programs[:, 0] >= steps[0, 0]) & (programs[:, 1] <= steps[-1, 1])]
  span, busy = steps[-1, 1] - steps[0, 0], (within[:, 1] - within[:, 0]).sum()
  gaps = steps[1:, 0] - steps[:-1, 1]
  return {
    "steps": len(steps),
    "step_ms": round(span / len(steps) / 1e6, 2),
    "idle_share": round(1 - busy / span, 4),
    "longest_gap_ms": round(gaps.max() / 1e6, 3),
    "median_gap_ms": round(float(np.median(gaps)) / 1e6, 3),
  }


def main():
  argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    write_data(folder)
    splits.IN_MEMORY_BYTES = 0
    with jax.profiler.trace(folder / "trace", profiler_options=trace.options()):
      result = loop.run(configured(folder), (2,), folder / "run")[2]
    results = last_epoch(spans(folder / "trace"), result["steps"])
  measuring.emit(bench="overlap", system="tireid_jax", **results)


if __name__ == "__main__":
  main()
