"""Loads a trained stage, or the pretrained weights alone, for evaluation and export."""

import os
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tireid_jax.config import values as config_lib
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import splits
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.evaluation import embedding
from tireid_jax.models import variants
from tireid_jax.models.clip import CLIP
from tireid_jax.parallel import sharding
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import initialization, origin, sources, stages
from tireid_jax.training.model import build_model, check_tokens, find_variant
from tireid_jax.workdir import best_checkpoint, checkpoint, layout


class Loaded(NamedTuple):
  """A trained stage: its model, its variables on a mesh, the config it was trained with, and its best step."""

  model: CLIP
  variables: dict[str, Any]
  config: ConfigDict
  mesh: Mesh
  step: int


def load_stage(run_folder: str | os.PathLike | None, stage: str, *, config: ConfigDict | None = None) -> Loaded:
  """Loads a finished or running stage, or the pretrained weights (step 0).

  Args:
    run_folder: workdir; None or "" for pretrained weights that `config` names.
    stage: "0", "1", "2" or "pretrained".
    config: of the pretrained weights, without a workdir.

  Raises:
    UserError, MissingFileError: there is no such stage, or it is damaged.
  """
  if stage not in ("0", "1", "2", "pretrained"):
    raise UserError(f"--stage={stage} is no stage; it must be pretrained, 0, 1 or 2")
  if run_folder:
    config = layout.read_config(run_folder)
    config.model.attention = "auto"  # the one used in training may not be available here
  if config is None:
    raise ValueError("give a workdir or a config")
  mesh = sharding.make_mesh(-1, 1, 1)  # all devices of this machine, whatever the mesh in training
  key = jax.random.key(config.seed)
  if stage == "pretrained":
    stages.from_config(config, 1)  # raises if another version wrote the workdir
    source = sources.find_source(config, "pretrained", run_folder, 1)
    model = build_model(config, find_variant(config, source), use_prompts=False, precision="auto")
    variables, found = initialization.initial_variables(
      model, source, mesh=mesh, key=key, position_resize=config.model.position_resize, prefix=config.pretrained_prefix
    )
    before = origin.recorded(run_folder) if run_folder else None
    if run_folder and before:
      origin.check_same(found, before.get("origin"), run_folder)
    return Loaded(model, variables, config, mesh, 0)
  folder = layout.stage_folder(run_folder, int(stage))
  if checkpoint.best_step(folder) is None:
    raise MissingFileError(f"{folder} holds no checkpoint; run --stage={stage} in this workdir first")
  step, variables, metadata = best_checkpoint.restore(folder, mesh)
  config = config_lib.from_json(metadata["config"])
  config.model.attention = "auto"
  settings = stages.from_config(config, int(stage))
  if settings.data:
    config.data.update(name=settings.data, val_identities=0)  # as the stage itself was evaluated
  variant = variants.from_json(metadata["variant"])
  model = build_model(config, variant, use_prompts=settings.use_prompts, precision=settings.precision)
  return Loaded(model, variables, config, mesh, step)


def open_split(loaded: Loaded, split: str, *, data: ConfigDict | None = None) -> splits.Split:
  """Returns a split for a Loaded model to be scored on; logs a warning where the result says little.

  Args:
    loaded: from `load_stage`.
    split: "train", "val" or "test".
    data: config of the data set; None for the one that the stage was trained on.

  Raises:
    UserError, MissingFileError: the data set is not prepared, has no such split, or does not fit the model.
  """
  config = loaded.config
  data = config if data is None else data
  prepared_as = (data.data_dir, data.data.name, config.data.image_size)
  check_tokens(loaded.model.variant, splits.dataset_info(*prepared_as, config.data.tokenizer))
  opened = splits.open_split(
    *prepared_as,
    split,
    tokenizer=config.data.tokenizer,
    val_identities=data.data.val_identities,
    seed=data.seed,
    in_memory_bytes=splits.IN_MEMORY_BYTES if jax.process_count() == 1 else 0,
  )
  trained_on = config.data.name
  if data.data.name in registry.same_source(trained_on):
    trained, tested = registry.layout_of(trained_on), registry.layout_of(data.data.name)
    both = " and ".join(sorted((trained.folder, tested.folder)))
    log_line(
      f"warning: {both} take their images from the same source ({trained.source}); this is no test across domains"
    )
  embedding.warn_if_small(opened)
  return opened
