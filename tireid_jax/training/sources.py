"""Where a stage's first variables come from: random values, published weights, or a checkpoint of an earlier stage."""

import os
from typing import Any, Literal, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.models import pretrained
from tireid_jax.models.variants import VARIANTS
from tireid_jax.models.weights import packaged
from tireid_jax.storage import hub, locations
from tireid_jax.training import origin
from tireid_jax.workdir import best_checkpoint, checkpoint, layout


class Source(NamedTuple):
  """Weights to start from: the folder of a stage that has a checkpoint, or a published file, folder or hub id."""

  kind: Literal["checkpoint", "pretrained"]
  path: str | os.PathLike


def find_source(config: ConfigDict, init_from: str, run_folder: str | os.PathLike | None, number: int) -> Source | None:
  """Returns what a stage starts from; None for random variables.

  Args:
    config: of the run.
    init_from: "random", "pretrained", "stage0", "stage1" or a path.
    run_folder: workdir of the run; None or "" if there is none.
    number: of the stage that starts, for messages.

  Raises:
    MissingFileError, UserError: there is nothing to start from; random variables are never used instead.
  """
  if init_from == "random":
    return None
  flag = f"--config.stage{number}.init_from"
  if init_from == "pretrained":
    flag = "--config.pretrained"
    if not config.pretrained:
      raise UserError(
        f"stage {number} starts from pretrained weights, but pretrained is empty; "
        f"set --config.pretrained to the file, folder or hub id of a CLIP model"
      )
    init_from = config.pretrained
  if init_from in ("stage0", "stage1", "stage2"):
    if not run_folder:
      raise UserError(
        f"{flag}={init_from} names a stage of a run; give the run as --workdir, or the weights themselves"
      )
    before = int(init_from[-1])
    folder = layout.stage_folder(run_folder, before)
    if checkpoint.best_step(folder) is None or layout.read_result(run_folder, before) is None:
      raise MissingFileError(
        f"stage {number} starts from stage {before}, but {folder} holds no finished run of it; run "
        f"--stage={before} first or set --config.stage{number}.init_from=pretrained "
        f"(random for a trial run)"
      )
    return Source("checkpoint", folder)
  path = locations.check(locations.to_path(init_from, flag))
  if init_from in VARIANTS and not path.exists():
    raise UserError(
      f"{flag}={init_from} names a variant, not weights; give a file, a folder or a hub id, as "
      f"openai/clip-vit-base-patch16, and the variant as --config.model.variant={init_from}"
    )
  for folder in (path, path / "stage1", path / "stage0"):
    if checkpoint.best_step(folder) is not None:
      return Source("checkpoint", folder)
  if locations.is_remote(path):
    raise MissingFileError(
      f"stage {number} starts from {path}, which holds no checkpoint of a run; published weights must be a local file "
      f"or folder, or a hub id"
    )
  if path.exists() or hub.is_hub_id(init_from) or packaged.find(init_from):
    return Source("pretrained", init_from)
  raise MissingFileError(
    f"stage {number} starts from {init_from!r}, which is no file or folder; give a workdir, a stage folder, or "
    f"the file, folder or hub id of a CLIP model, or {' or '.join(packaged.NAMES)}, the weights of this package"
  )


def read_origin(config: ConfigDict, run_folder: str | os.PathLike, mesh: Mesh) -> dict[str, Any]:
  """Returns the origin of what config.pretrained names now; raises the errors of `find_source` and of reading it."""
  source = find_source(config, "pretrained", run_folder, 1)
  assert source is not None  # only "random" has no source
  kind, path = source
  if kind == "checkpoint":
    step, variables, metadata = best_checkpoint.restore(path, mesh)
    return origin.of_checkpoint(path, step, metadata, variables, mesh)
  file, revision = pretrained.open_file(path)
  return origin.of_weights(path, file, prefix=config.pretrained_prefix, revision=revision)
