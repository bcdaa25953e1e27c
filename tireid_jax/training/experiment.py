"""An experiment: one stage of a config with everything that is fixed before its first step."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tireid_jax.data.prepared import splits
from tireid_jax.evaluation import embedding
from tireid_jax.parallel import distributed, sharding
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import origin
from tireid_jax.training.preflight import CheckedStage
from tireid_jax.training.program import Program
from tireid_jax.training.sources import Source
from tireid_jax.training.stage_data import PREPARED, StageData, TrainBatches, TrainSplit
from tireid_jax.training.stages import Stage
from tireid_jax.workdir import checkpoint, layout


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
  """One stage of a config, its data, its mesh and its program.

  Attributes:
    config: of the run.
    recorded_config: as the stage's files store it: with the name by which the workdir's weights were first read.
    data: of the stage.
    stage: Stage.
    run_folder, folder: the workdir, and the stage's folder in it.
    resumes: whether the stage has a checkpoint to resume from.
    source: what the stage starts from otherwise; None for random variables.
    mesh: Mesh of all devices.
    train_split: what it trains on.
    selection_split: what its best checkpoint is selected on; None where the last one is reported.
    batches: of the train split, by step.
    num_steps: of the whole stage.
    program: the compiled step and its state.
    all_finite: jitted variables -> bool[], whether everything that is trained is finite.
    encoders: of the model, for evaluation.
  """

  config: ConfigDict
  recorded_config: ConfigDict
  data: StageData
  stage: Stage
  run_folder: str | os.PathLike
  folder: pathlib.Path
  resumes: bool
  source: Source | None
  mesh: Mesh
  train_split: TrainSplit
  selection_split: splits.Split | None
  batches: TrainBatches
  num_steps: int
  program: Program
  all_finite: Callable[[Any], jax.Array]
  encoders: embedding.Encoders

  def batch(self, step: int) -> dict[str, jax.Array]:
    """Returns the batch of a step, from 0, on the devices."""
    return sharding.put_batch(self.mesh, self.batches(step))

  def score(self, variables: Any) -> dict[str, dict[str, float]]:
    """Returns {"t2i": {metric: percent}, "i2t": ...} of the selection split, which must not be None."""
    assert self.selection_split is not None
    _, _, scores = self.encoders.score(variables, self.selection_split, self.config.data.caption_lengths)
    return embedding.summarize(scores)

  def summary(self) -> str:
    """Returns one line: devices, data, steps, parameters and where checkpoints go."""
    devices, parameters = jax.devices(), self.program.parameters
    mesh = ", ".join(f"{axis} {size}" for axis, size in self.mesh.shape.items())
    return (
      f"{len(devices)} {devices[0].platform} device(s) ({mesh}), {len(self.train_split.captions):,} captions of "
      f"{self.train_split.num_identities} identities, {self.num_steps} steps of {self.stage.batch_size}, "
      f"{parameters['trainable_parameters']:,} of {parameters['total_parameters']:,} parameters learn, "
      f"checkpoints in {self.folder / checkpoint.FOLDER}"
    )


def build(
  config: ConfigDict, checked: CheckedStage, run_folder: str | os.PathLike, data: StageData = PREPARED
) -> Experiment:
  """Returns the Experiment of a stage that passed `preflight.check`. Every process calls it alike.

  Nothing is computed or written yet, but for a probe of cuDNN on a GPU.

  Raises:
    ValueError, FileNotFoundError: the data or the model do not fit the config.
  """
  stage = checked.stage
  folder = layout.stage_folder(run_folder, stage.number)
  mesh = sharding.make_mesh(**config.mesh)
  recorded_config = origin.with_recorded_name(config, run_folder)
  train_split = data.train_split(config, stage)
  distributed.check_same(train_split.fingerprint, f"the processes have different data {data.where(config)}")
  selection_split = None if config.select_on == "last" else data.open_split(config, stage, config.select_on)
  if config.select_on == "test":
    log_line("warning: select_on=test selects the checkpoint on the reported split; its metrics are biased upwards")
  batches = data.batches(config, stage, train_split, sharding.process_batch_indices(mesh, stage.batch_size))
  program = Program(
    config, stage, checked.variant, mesh, num_identities=train_split.num_identities,
    steps_per_epoch=batches.steps_per_epoch,
  )  # fmt: skip
  encoders = embedding.Encoders(
    program.model, mesh, config.evaluation.batch_size, compiler_options=program.compiler_options
  )
  return Experiment(
    config=config, recorded_config=recorded_config, data=data, stage=stage, run_folder=run_folder, folder=folder,
    resumes=checked.resumes, source=checked.source, mesh=mesh, train_split=train_split,
    selection_split=selection_split, batches=batches, num_steps=stage.epochs * batches.steps_per_epoch,
    program=program, all_finite=program.all_finite(), encoders=encoders,
  )  # fmt: skip
