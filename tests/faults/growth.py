"""Monitors the memory, file descriptors and threads of a long run through /proc."""

import dataclasses
import os
import pathlib
import time

from tests.faults import scenario
from tireid_jax.workdir.metric_log import read_metrics

_INTERVAL_S = 0.05  # short, because a save opens files for most of a second and samples between saves are needed
FIELDS = ("resident_bytes", "descriptors", "threads")


@dataclasses.dataclass(frozen=True)
class Sample:
  """Resources of a process at a step: resident bytes, open file descriptors, threads."""

  step: int
  resident_bytes: int
  descriptors: int
  threads: int


def sample(pid, step):
  """Returns a Sample of a running process, or None if it has ended."""
  folder = pathlib.Path(f"/proc/{pid}")
  try:
    pages = int((folder / "statm").read_text().split()[1])
    descriptors, threads = len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))
  except (OSError, IndexError):
    return None
  return Sample(step, pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threads)


def watch(run, workdir, num_steps):
  """Trains stage 2 with an evaluation and a checkpoint in every epoch, and returns its Samples.

  Args:
    run: Scenario.
    workdir: pathlib.Path that does not exist yet.
    num_steps: of training, a multiple of the steps per epoch.
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
  """Returns a Sample for each quarter of the steps with the minimum of each field, as held between saves."""

  def minimum(part):
    return Sample(part[0].step, *(min(getattr(sample, field) for sample in part) for field in FIELDS))

  return [minimum([s for s in samples if 4 * s.step // num_steps == quarter]) for quarter in range(4)]
