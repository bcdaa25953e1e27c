"""Continuing a stage by another schedule: up to the start of the cosine, the learning rate does not depend on it."""

import os

from ml_collections import ConfigDict

from tireid_jax.training.stage_data import StageData
from tireid_jax.training.stages import Stage
from tireid_jax.workdir import checkpoint, layout


def free_fields(config: ConfigDict, stage: Stage, run_folder: str | os.PathLike, data: StageData) -> tuple[str, ...]:
  """Returns the fields that may differ from those of the workdir: "stage0/epochs", "stage0/stable_epochs", or none.

  They may where no step of the newest checkpoint was taken after the peak of the learning rate, neither by the schedule
  it was saved with nor by the requested one: then both take the same steps up to it. The requested one must have steps
  left, since no others are evaluated.

  Args:
    config: of the run.
    stage: Stage.
    run_folder: workdir.
    data: of the stage, whose number of steps per epoch is read if the schedules differ.
  """
  folder = layout.stage_folder(run_folder, stage.number)
  if checkpoint.best_step(folder) is None or layout.read_result(run_folder, stage.number) is not None:
    return ()
  saved = checkpoint.newest_readable_metadata(folder)
  before = saved["config"][stage.name]
  stable_epochs = before.get("stable_epochs", 0.0)
  if (before["epochs"], stable_epochs) == (stage.epochs, stage.stable_epochs):
    return ()
  peak_ends = stage.warmup_epochs + min(stable_epochs, stage.stable_epochs)
  steps_per_epoch = data.steps_per_epoch(config, stage)
  if saved["step"] > peak_ends * steps_per_epoch or saved["step"] >= stage.epochs * steps_per_epoch:
    return ()
  return f"{stage.name}/epochs", f"{stage.name}/stable_epochs"
