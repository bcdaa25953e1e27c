"""The cost of a training step in floating-point operations, counted in its traced program."""

import jax
import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data.prepared import splits
from tireid_jax.models import variants
from tireid_jax.models.variants import Variant
from tireid_jax.parallel import sharding
from tireid_jax.study.cells import Cell
from tireid_jax.training import stages
from tireid_jax.training.program import Program
from tireid_jax.workdir import best_checkpoint

_by_digest: dict[str, float] = {}


def per_step(cell: Cell) -> float:
  """Returns the floating-point operations of a training step of a finished cell, for captions of the longest length."""
  if cell.digest not in _by_digest:
    config, number = cell.config, cell.number
    name = config[f"stage{number}"].data or config.data.name
    info = splits.dataset_info(config.data_dir, name, config.data.image_size, config.data.tokenizer)
    variant = variants.from_json(best_checkpoint.read_metadata(cell.stage_folder)["variant"])
    _by_digest[cell.digest] = of_step(config, number, variant, info["counts"]["train"]["ids"])
  return _by_digest[cell.digest]


def of_step(config: ConfigDict, number: int, variant: Variant, num_identities: int) -> float:
  """Returns the floating-point operations of a step, forward and backward, without rematerialisation.

  Args:
    config: of the run.
    number: of the stage.
    variant: of the model.
    num_identities: of the training data.
  """
  config = config.copy_and_resolve_references()
  # The body of a loop would be counted once, and the operations of a fused attention kernel not at all.
  config.model.blocks, config.model.remat, config.model.attention = "unrolled", "none", "xla"
  config[f"stage{number}"].microbatch_size = 0
  stage = stages.from_config(config, number)
  program = Program(
    config, stage, variant, sharding.make_mesh(1, 1, 1), num_identities=num_identities, steps_per_epoch=1
  )
  num_images = stage.batch_size // stage.captions_per_image
  batch = {
    "images": jax.ShapeDtypeStruct((num_images, *config.data.image_size, 3), np.uint8),
    "tokens": jax.ShapeDtypeStruct((stage.batch_size, config.data.caption_lengths[-1]), np.int32),
    "person_id": jax.ShapeDtypeStruct((stage.batch_size,), np.int32),
  }
  analysis = program.step().lower(program.shapes, batch).cost_analysis()
  assert analysis is not None  # it is that of the traced program, which every backend has
  return float(analysis["flops"])
