"""Where training starts or resumes: the state of the next step, and what the stage's files record of its first one."""

import dataclasses
import importlib.metadata
from typing import Any

from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.models import variants
from tireid_jax.parallel import distributed
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import checksum, initialization, origin
from tireid_jax.training.experiment import Experiment
from tireid_jax.workdir.checkpoint import Checkpoints

_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
  """Where this run of a stage starts.

  Attributes:
    state: TrainState of the next step, which is donated to that step; None after training.
    origin: where the variables of step 0 came from, as in `origin`; None where an earlier version did not record it.
    frozen: checksums of what the stage does not train, at step 0.
    seconds: that earlier runs of the stage trained for.
    best_score: of their validations, None without any.
  """

  state: Any
  origin: dict | None
  frozen: dict[str, str]
  seconds: float = 0.0
  best_score: float | None = None

  @property
  def first_step(self) -> int:
    """Number of steps done before; to be read before the state is donated."""
    return int(self.state.step)


def first_start(experiment: Experiment) -> Start:
  """Returns the Start of step 0, with the variables that the stage's config names.

  Raises:
    ValueError, FileNotFoundError: there is nothing to start from, or not what the workdir was begun with.
  """
  config, program = experiment.config, experiment.program
  variables, found = initialization.initial_variables(
    program.model, experiment.source, mesh=experiment.mesh, key=program.key, seed=config.seed,
    fingerprint=experiment.train_split.fingerprint, num_identities=program.num_identities,
    position_resize=config.model.position_resize, prefix=config.pretrained_prefix,
    new_head=experiment.stage.new_head,
  )  # fmt: skip
  found = origin.within(experiment.run_folder, found)
  distributed.check_same(found, f"the processes read different weights by the name {config.pretrained}")
  before = origin.recorded(experiment.run_folder)
  if before and experiment.stage.init_from == "pretrained":
    origin.check_same(found, before.get("origin"), experiment.run_folder)
  frozen = checksum.of_frozen(experiment.mesh, variables, program.labels)
  return Start(program.first_state(variables), found, frozen)


def resume(experiment: Experiment, checkpoints: Checkpoints) -> Start:
  """Returns the Start of the newest checkpoint.

  Raises:
    ValueError: it is damaged, or was trained on other data.
  """
  state, metadata = checkpoints.restore(experiment.program.shapes)
  if metadata["fingerprint"] != experiment.train_split.fingerprint:
    raise UserError(
      f"{experiment.folder} was trained on another {metadata['dataset']} (its fingerprint differs from the prepared "
      f"one); choose another --workdir"
    )
  frozen = metadata.get("frozen")
  if frozen is None:
    frozen = checksum.of_frozen(experiment.mesh, state.variables, experiment.program.labels)
    log_line(
      f"{experiment.folder} was started by a version that recorded neither the digest of its initial weights nor "
      f"checksums of the frozen variables; checksums are taken at step {int(state.step)}"
    )
  return Start(state, metadata.get("origin"), frozen, metadata["seconds"], metadata["best_score"])


def checkpoint_metadata(experiment: Experiment, start: Start, **progress: Any) -> dict[str, Any]:
  """Returns what a checkpoint stores along with its arrays, as JSON data; `progress` is the step, its score, ..."""
  return {
    "config": config_lib.to_json(experiment.recorded_config),
    "variant": variants.to_json(experiment.program.model.variant),
    "stage": experiment.stage.number,
    **progress,
    "dataset": experiment.train_split.name,
    "fingerprint": experiment.train_split.fingerprint,
    "trains": list(experiment.stage.trains),
    **experiment.program.parameters,
    "origin": start.origin,
    "frozen": start.frozen,
    "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
  }


def check_frozen(experiment: Experiment, start: Start, variables: Any, step: int) -> dict[str, str]:
  """Returns the checksums of what the stage does not train, at a step.

  Raises:
    ValueError: they are not those of step 0.
  """
  found = checksum.of_frozen(experiment.mesh, variables, experiment.program.labels)
  changed = [group for group, value in start.frozen.items() if found.get(group) != value]
  if changed:
    raise UserError(
      f"stage {experiment.stage.number} in {experiment.run_folder} does not train {', '.join(changed)}, but at step "
      f"{step} they differ from those at its start; no results are written: rerun it in another --workdir"
    )
  return found
