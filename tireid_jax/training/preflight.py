"""Finds mistakes in any stage of a run before the first one starts and anything is written."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence

import jax
from ml_collections import ConfigDict

from tireid_jax.config import paths
from tireid_jax.config import values as config_lib
from tireid_jax.data.transforms import augment_text
from tireid_jax.errors import UserError
from tireid_jax.models import variants
from tireid_jax.models.variants import Variant
from tireid_jax.parallel import sharding
from tireid_jax.profiling import capture
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import extension, initialization, origin, sources, stages
from tireid_jax.training.model import FROM_WEIGHTS, build_model, check_tokens, check_weights, find_variant
from tireid_jax.training.sources import Source
from tireid_jax.training.stage_data import PREPARED, StageData
from tireid_jax.training.stages import Stage
from tireid_jax.workdir import checkpoint, layout


@dataclasses.dataclass(frozen=True)
class CheckedStage:
  """A stage that has passed the checks, and what they looked up.

  Attributes:
    stage: Stage.
    resumes: whether it has a checkpoint to resume from.
    source: what it starts from otherwise, which may be a stage of the same run; None for random variables.
    variant: of its model.
  """

  stage: Stage
  resumes: bool
  source: Source | None
  variant: Variant


def check(
  config: ConfigDict,
  numbers: Sequence[int],
  run_folder: str | os.PathLike,
  profile: capture.Window | None = None,
  data: StageData = PREPARED,
) -> list[CheckedStage]:
  """Returns the stages to be run; reads no image.

  Weights are read only to compare those of another name with what the workdir was started from.

  Args:
    config: of the run.
    numbers: stages to be run, ascending.
    run_folder: workdir.
    profile: capture.Window, None for none.
    data: of the stages.

  Raises:
    ValueError, FileNotFoundError: there is a mistake in one of the stages.
  """
  config_lib.check(config)
  mesh = sharding.make_mesh(**config.mesh)
  _check_origin(config, run_folder, mesh)
  checked: dict[str, CheckedStage] = {}
  for number in numbers:
    stage = stages.from_config(config, number)
    layout.check(run_folder, config, number, free_fields=extension.free_fields(config, stage, run_folder, data))
    for field in ("batch_size", "microbatch_size"):
      sharding.check_batch(f"{stage.name}.{field}", getattr(stage, field), mesh, stage.captions_per_image)
    info = _check_data(config, stage, run_folder, data)
    with _naming(stage):
      augment_text.check(info["tokenizer"], **stage.augment_text)
    checked[stage.name] = found = _look_up(config, stage, run_folder, checked)
    _check_model(config, stage, found.variant)
    check_tokens(found.variant, info)
    if profile and layout.read_result(run_folder, number) is None:
      profile.check(number, stage.epochs * data.steps_per_epoch(config, stage))
  return list(checked.values())


def _look_up(
  config: ConfigDict, stage: Stage, run_folder: str | os.PathLike, earlier: Mapping[str, CheckedStage]
) -> CheckedStage:
  """Returns a CheckedStage; checks the weights that it starts from, if they exist already.

  Args:
    config, run_folder: of the run.
    stage: Stage.
    earlier: the stages of the run before it, by name; each is finished once this one starts.
  """
  folder = layout.stage_folder(run_folder, stage.number)
  if checkpoint.best_step(folder) is not None:  # what it started from is not read again
    recorded = checkpoint.newest_readable_metadata(folder)["variant"]
    return CheckedStage(stage, resumes=True, source=None, variant=variants.from_json(recorded))
  before = earlier.get(config.pretrained if stage.init_from == "pretrained" else stage.init_from)
  if before is not None:
    source = Source("checkpoint", layout.stage_folder(run_folder, before.stage.number))
    variant = before.variant if config.model.variant == FROM_WEIGHTS else find_variant(config, source)
    return CheckedStage(stage, resumes=False, source=source, variant=variant)
  found = sources.find_source(config, stage.init_from, run_folder, stage.number)
  variant = find_variant(config, found)
  check_weights(config, found, variant)
  return CheckedStage(stage, resumes=False, source=found, variant=variant)


def _check_origin(config, run_folder, mesh):
  """Raises ValueError if config.pretrained names other weights than those the workdir was started from.

  Weights are read only if the name differs from the recorded one.
  """
  before = origin.recorded(run_folder)
  if before is None:
    return
  name, prefix = before["config"]["pretrained"], before["config"].get("pretrained_prefix", "")
  if config.pretrained and config.pretrained_prefix not in ("", prefix):
    raise UserError(
      f"pretrained_prefix: {prefix!r} in the workdir, {config.pretrained_prefix!r} requested; choose another "
      f"--workdir than {run_folder}, or request what the workdir has"
    )
  if not config.pretrained or paths.is_same(config.pretrained, name):  # older versions recorded relative paths
    return
  if before.get("origin") is None:
    log_line(
      f"{run_folder} was started from {name} by a version that recorded no digest of its weights; it continues, and "
      f"--config.pretrained={config.pretrained} is neither read nor recorded"
    )
    return
  try:
    found = sources.read_origin(config, run_folder, mesh)
  except UserError as error:
    raise UserError(f"{run_folder} was started from {name}, and cannot be compared with another: {error}") from error
  origin.check_same(found, before["origin"], run_folder)
  log_line(f"{config.pretrained} holds the same weights as {name}, from which {run_folder} was started")


@contextlib.contextmanager
def _naming(stage):
  """Prefixes the field that a ValueError starts with by the stage's name."""
  try:
    yield
  except ValueError as error:
    raise UserError(f"{stage.name}.{error}") from error


def _check_model(config, stage, variant):
  model = build_model(config, variant, use_prompts=stage.use_prompts, precision=stage.precision)
  num_identities = 1 if stage.uses_identities else 0
  stage.labels(jax.eval_shape(lambda: initialization.random_variables(model, jax.random.key(0), num_identities)))


def _check_data(config, stage, run_folder, data):
  """Returns the stage's `dataset_info`; raises if a split is missing or a finished stage was trained on other data."""
  info = data.check(config, stage)
  result = layout.read_result(run_folder, stage.number)
  if result is not None and result["fingerprint"] != info["fingerprint"]:
    raise UserError(
      f"stage {stage.number} in {run_folder} was trained on another {info['name']} than the one {data.where(config)} "
      f"(their fingerprints differ); choose another --workdir"
    )
  return info
