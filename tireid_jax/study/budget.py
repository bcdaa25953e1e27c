"""What is left to compute of a study, before it is run: runs, training steps and encoded pictures."""

import dataclasses
import pathlib
from typing import Any

from tireid_jax.data.datasets import toy
from tireid_jax.data.toy.pool import splits
from tireid_jax.study import further, running, toy_data, tuning
from tireid_jax.study.cells import Cell
from tireid_jax.study.plan import Plan

# Captions of a picture of the synthetic data sets.
CAPTIONS = 2
# A training step has the forward pass of its pictures, and about twice its operations for the gradients.
FORWARD = 1 / 3


@dataclasses.dataclass(frozen=True)
class Budget:
  """What is left to compute.

  Attributes:
    runs: cells that are missing.
    results: entries to be scored.
    steps: of all runs; None unless all data are synthetic, whose sizes are known before they are generated.
    cost: steps, and the encoding of splits for validation and test, in steps of as many captions.
  """

  runs: int
  results: int
  steps: int | None
  cost: float

  def in_words(self, seconds_per_step: float) -> str:
    """Returns a sentence; with the time if `seconds_per_step`, of one core, is not 0."""
    text = f"{self.runs:,} runs and {self.results:,} results are missing"
    if self.steps is None:
      return text
    text += f": {self.steps:,} training steps, and as much encoding as {round(self.cost - self.steps):,} more"
    if seconds_per_step:
      text += f"; {self.cost * seconds_per_step / 3600:.1f} core-hours at {seconds_per_step:g} s a step"
    return text


def of_plan(plan: Plan, results: pathlib.Path) -> Budget:
  """Returns what a plan lacks; of a plan made with `assumes`, without extensions of its grids.

  Args:
    plan: of the study.
    results: folder of the records.
  """
  entries = plan.all_entries()
  done = running.finished(entries, results)
  waiting = [entry for entry in entries if entry not in done]
  grid = [cell for cells in plan.grid.values() for cell in cells if not tuning.is_scored(cell, results)]
  cells = {one.folder: one for cell in grid for one in cell.lineage()}
  cells |= {cell.folder: cell for entry in waiting for cell in entry.needed()}
  missing = [cell for cell in cells.values() if cell.result() is None]
  digests = {(entry.digest, entry.seed): entry for entry in waiting}
  if not all(toy_data.is_synthetic(cell.config) for cell in [*missing, *(entry.cell for entry in waiting)]):
    return Budget(len(missing), len(digests), None, 0.0)
  cost = sum(_cost_of_run(cell) for cell in missing) + sum(_cost_of_result(entry.cell) for entry in digests.values())
  return Budget(len(missing), len(digests), sum(_steps(cell) for cell in missing), cost)


def _stage(cell: Cell) -> Any:
  return cell.config[f"stage{cell.number}"]


def _steps(cell):
  name = toy_data.name_of(cell.config, cell.number)
  return _stage(cell).epochs * (CAPTIONS * _num_pictures(cell.config, name, "train") // _stage(cell).batch_size)


def _cost_of_run(cell):
  """Returns the cost of the steps of a run, of its validations and of its test, in steps."""
  name = toy_data.name_of(cell.config, cell.number)
  validations = _stage(cell).epochs // _stage(cell).evaluate_every_epochs
  pictures = validations * _num_pictures(cell.config, name, "val") + _num_pictures(cell.config, name, "test")
  return _steps(cell) + _in_steps(cell, pictures)


def _cost_of_result(cell):
  """Returns the cost of encoding the test splits of all domains and of pre-training, in steps."""
  study = cell.config.study
  others = {*further.domains(cell.config), study.held_out} if study.further_results else set()
  names = {cell.config.data.name, *others} - {""}
  return _in_steps(cell, sum(_num_pictures(cell.config, name, "test") for name in names))


def _in_steps(cell, pictures):
  return FORWARD * CAPTIONS * pictures / _stage(cell).batch_size


def _num_pictures(config, name, split):
  sizes = config.toy
  if name == splits.NAME:
    return config.study.pool_held_out
  if name == toy.GENERIC.name:
    return sizes.generic_train_images if split == "train" else sizes.generic_eval_images
  return sizes[f"num_{split}_ids"] * sizes.images_per_id
