"""How much the choice of the checkpoint changes a result: what validation, the last step and the test split would pick.

Most published results select the checkpoint on the test split. `main --protocol_report` scores the test split at every
validation as well, and adds the three choices to result.json. Selection never reads these scores.
"""

from collections.abc import Mapping
from typing import Any

import jax

from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding
from tireid_jax.metrics import DIRECTIONS, METRICS
from tireid_jax.training.experiment import Experiment
from tireid_jax.training.hooks import Context, Log
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import metric_log

# Of the metrics in the log. No other code reads them.
PREFIX = "protocol_report/test"
KEY = "protocol_report"


class ScoreTest:
  """Training-loop hook that logs the metrics of the test split whenever the selection split would be evaluated."""

  def __init__(self, context: Context, log: Log, experiment: Experiment) -> None:
    self._context, self._log, self._experiment = context, log, experiment
    self._split = experiment.data.open_split(experiment.config, experiment.stage, "test")

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    if not self._context.evaluates_at(step):
      return
    self._log.flush()  # raises on a loss that is not finite, and names its step
    experiment = self._experiment
    _, _, scores = experiment.encoders.score(state.variables, self._split, experiment.config.data.caption_lengths)
    found = embedding.summarize(scores)
    self._context.writer.write(
      step, {f"{PREFIX}/{direction}/{name}": value for direction in found for name, value in found[direction].items()}
    )


def check(experiment: Experiment, first_step: int) -> None:
  """Raises UserError if the steps before `first_step` were validated without scoring the test split."""
  every = experiment.stage.evaluate_every_epochs * experiment.batches.steps_per_epoch
  missing = set(range(every, first_step + 1, every)) - set(_logged(experiment))
  if missing:
    raise UserError(
      f"stage {experiment.stage.number} in {experiment.run_folder} was trained without --protocol_report up to step "
      f"{max(missing)}, and its former checkpoints are gone; choose another --workdir, or leave the flag out"
    )


def check_result(result: Mapping[str, Any], run_folder: Any) -> None:
  """Raises UserError if a finished stage has no report."""
  if KEY not in result:
    raise UserError(
      f"stage {result['stage']} in {run_folder} was finished without --protocol_report; choose another --workdir, or "
      f"leave the flag out"
    )


def summarize(experiment: Experiment, result: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the test metrics of the selected checkpoint, of the last one and of the best one by the test split.

  Args:
    experiment: fitted to its last step.
    result: of the selected checkpoint.
  """
  by_step = _logged(experiment)
  direction, _, metric = experiment.config.select_by.partition("/")
  # Of equal scores the later step wins, as in the selection of the checkpoint.
  best = max(by_step, key=lambda step: (by_step[step][direction][metric], step))
  selected = {name: result[name] for name in DIRECTIONS}
  return {
    "note": "test scores of three choices of the checkpoint; only `selected` is the result, and best_on_test is biased",
    "selected": {"step": result["step"], **selected},
    "last": {"step": experiment.num_steps, **by_step[experiment.num_steps]},
    "best_on_test": {"step": best, **by_step[best]},
    "bias": by_step[best][direction][metric] - selected[direction][metric],
  }


def _logged(experiment) -> dict[int, dict[str, dict[str, float]]]:
  """Returns {step: {"t2i": {metric: percent}, "i2t": ...}} of the log."""
  found = {}
  for record in metric_log.read_metrics(experiment.folder):
    if f"{PREFIX}/t2i/R@1" in record:
      found[record["step"]] = {
        direction: {name: record[f"{PREFIX}/{direction}/{name}"] for name in METRICS} for direction in DIRECTIONS
      }
  return found
