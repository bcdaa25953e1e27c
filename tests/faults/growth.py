"""Watches the memory, file descriptors and threads of a long run from outside, by /proc."""

import dataclasses
import os
import pathlib
import statistics
import time

from tests.faults import scenario
from tireid_jax.log import read_metrics

_INTERVAL_S = 0.5
# Fractions of the steps between which the run is warm, and from which on its end is.
WARM, END = (0.25, 0.5), 0.75


@dataclasses.dataclass(frozen=True)
class Sample:
  """What a process holds at a step: resident bytes, open file descriptors, threads."""

  step: int
  resident_bytes: int
  descriptors: int
  threads: int


def sample(pid, step):
  """Returns a Sample of a process that runs, or None of one that has ended."""
  folder = pathlib.Path(f"/proc/{pid}")
  try:
    pages = int((folder / "statm").read_text().split()[1])
    descriptors, threads = len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))
  except (OSError, IndexError):
    return None
  return Sample(step, pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threads)


def watch(run, workdir, num_steps):
  """Trains stage 2 for so many steps, with an evaluation and a checkpoint an epoch, and returns its Samples.

  Args:
    run: Scenario.
    workdir: pathlib.Path, not there yet.
    num_steps: a multiple of the steps of an epoch.
  """
  fields = (
    f"--config.stage2.epochs={num_steps // run.epoch_steps}", "--config.stage2.init_from=pretrained",
    "--config.log_every_steps=10", "--config.checkpoint_every_steps=1000000",
  )  # fmt: skip
  arguments = run.main(workdir, *fields, stage=2)
  samples = []
  with scenario.Command(workdir.with_name("growth.log"), *arguments) as command:
    while command.process.poll() is None:
      records = read_metrics(workdir / "stage2")
      found = sample(command.process.pid, records[-1]["step"] if records else 0)
      if found:
        samples.append(found)
      time.sleep(_INTERVAL_S)
    if command.wait():
      raise AssertionError(f"the run failed: {command.output()[-3000:]}")
  return samples


def growth(samples, num_steps):
  """Returns {field: (median once warm, median at the end)} of Samples."""
  warm = [s for s in samples if WARM[0] * num_steps <= s.step < WARM[1] * num_steps]
  end = [s for s in samples if END * num_steps <= s.step < num_steps]
  return {
    field: tuple(statistics.median(getattr(s, field) for s in part) for part in (warm, end))
    for field in ("resident_bytes", "descriptors", "threads")
  }
