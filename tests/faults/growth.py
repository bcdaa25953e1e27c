"""Watches the memory, file descriptors and threads of a long run from outside, by /proc."""

import dataclasses
import os
import pathlib
import time

from tests.faults import scenario
from tireid_jax.workdir.metric_log import read_metrics

_INTERVAL_S = 0.05  # a save opens files for most of a second: the moments between two saves must be hit as well
FIELDS = ("resident_bytes", "descriptors", "threads")


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


def quarters(samples, num_steps):
  """Returns, for each quarter of the steps, a Sample of the least of everything: what is held between saves."""

  def least(part):
    return Sample(part[0].step, *(min(getattr(sample, field) for sample in part) for field in FIELDS))

  return [least([s for s in samples if 4 * s.step // num_steps == quarter]) for quarter in range(4)]
