"""Training-loop hooks: logging, validation, checkpointing.

Each is called as hook(step, state, metrics) after every step and decides by itself whether it has something to do.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tireid_jax.errors import DivergedError
from tireid_jax.storage.lock import Lock
from tireid_jax.terminal.progress import log_line
from tireid_jax.training.state import TrainState
from tireid_jax.training.stopping import InAnyProcess, StopRequest
from tireid_jax.workdir.checkpoint import Checkpoints
from tireid_jax.workdir.metric_log import MetricWriter


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Context:
  """What the hooks of a stage share.

  Attributes:
    writer: of the stage's metric log.
    progress: progress bar, advanced by one each step.
    checkpoints: of the stage.
    stop: signals received.
    num_steps: number of the last step.
    steps_per_epoch: a checkpoint is due at the end of each epoch.
    batch_size: B, over all devices.
    log_every_steps, save_every_steps, evaluate_every_steps: intervals.
    save_every_minutes: since the last checkpoint; 0 for no such interval.
  """

  writer: MetricWriter
  progress: Any
  checkpoints: Checkpoints
  stop: StopRequest
  num_steps: int
  steps_per_epoch: int
  batch_size: int
  log_every_steps: int
  save_every_steps: int
  evaluate_every_steps: int
  save_every_minutes: float

  def evaluates_at(self, step: int) -> bool:
    """Whether the selection split, if there is one, is evaluated after a step."""
    return step % self.evaluate_every_steps == 0 or step == self.num_steps


class CheckLock:
  """Raises if the run has lost its lock on the workdir."""

  def __init__(self, lock: Lock) -> None:
    self._lock = lock

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    self._lock.check()


class NotFiniteError(DivergedError):
  """A step produced NaN or infinity.

  Attributes:
    step: its number, from 1; where only the weights are not finite, the latest that it can be.
    metrics: {name: float} of the step; {} where only the weights are not finite.
  """

  def __init__(self, step: int, metrics: Mapping[str, float]) -> None:
    bad = [f"{name} is {value}" for name, value in metrics.items() if not np.isfinite(value)]
    super().__init__(f"{bad[0] if bad else 'a weight is not finite'} at step {step}")
    self.step, self.metrics = step, metrics


class Log:
  """Writes the metrics' means since the last line, learning rates and speed; raises on values that are not finite.

  Metrics stay on the device until a line is due, so that no step waits for the log.
  """

  def __init__(
    self,
    context: Context,
    *,
    learning_rates: Mapping[str, Callable[[int], Any]],
    all_finite: Callable[[Any], Any] = lambda variables: True,
  ) -> None:
    """Opens it.

    Args:
      context: shared by the hooks.
      learning_rates: {parameter group: step -> learning rate}.
      all_finite: variables -> bool[], whether everything that is trained is finite; called when a line is due.
    """
    self._context, self._learning_rates, self._all_finite = context, learning_rates, all_finite
    self._variables: Any = None
    self._pending: list = []
    self._since = time.monotonic()
    self._is_first = True

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    self._pending.append((step, metrics))
    self._variables = state and state.variables
    self._context.progress.update()
    if self._is_first:
      # Shown when it is done, not at the next interval: launch/failure.sh distinguishes failures before it from others.
      jax.block_until_ready(metrics)
      self._context.progress.refresh()
      self._is_first = False
    if step % self._context.log_every_steps == 0:
      self.flush()

  def flush(self) -> None:
    """Writes what has not been written yet.

    Raises:
      NotFiniteError: a loss, a gradient norm or a weight is not finite.
    """
    if not self._pending:
      return
    steps = [step for step, _ in self._pending]
    values, is_sound = jax.device_get(([metrics for _, metrics in self._pending], self._all_finite(self._variables)))
    self._variables = None
    for step, metrics in zip(steps, values, strict=True):
      if not all(np.isfinite(value) for value in metrics.values()):
        # Losses first, and their total before its terms.
        names = sorted(metrics, key=lambda name: (not name.startswith("loss/"), name != "loss/total", name))
        raise NotFiniteError(step, {name: float(metrics[name]) for name in names})
    if not is_sound:
      raise NotFiniteError(steps[-1], {})
    means = {name: float(np.mean([metrics[name] for metrics in values])) for name in values[0]}
    rates = {f"learning_rate/{group}": float(rate(steps[-1] - 1)) for group, rate in self._learning_rates.items()}
    now = time.monotonic()
    speed = {"speed/examples_per_second": len(steps) * self._context.batch_size / (now - self._since)}
    self._context.writer.write(steps[-1], {**means, **rates, **speed})
    self._context.progress.set_postfix_str(f"loss {means['loss/total']:.3f}", refresh=False)
    self._pending, self._since = [], now

  def pause(self, seconds: float) -> None:
    """Excludes this time from the next line's speed."""
    self._since += seconds


class Evaluate:
  """Computes the metrics of the selection split every few epochs and after the last step.

  Attributes:
    latest: (step, score) of the last validation; the score, higher is better, decides which checkpoint is best.
  """

  def __init__(
    self, context: Context, log: Log, score: Callable[[Any], Mapping], *, split: str, select_by: str
  ) -> None:
    """Makes it.

    Args:
      context: shared by the hooks.
      log: flushed before validation, and paused during it.
      score: variables -> {"t2i": {metric: percent}, "i2t": ...}.
      split: name of the selection split, the prefix of the logged metrics.
      select_by: the metric that is the score, as "t2i/R@1".
    """
    self._context, self._log, self._score, self._split = context, log, score, split
    self._direction, _, self._metric = select_by.partition("/")
    self.latest: tuple[int, float | None] = (0, None)

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    if not self._context.evaluates_at(step):
      return
    self._log.flush()  # raises on a loss that is not finite, and names its step
    began = time.monotonic()
    result = self._score(state.variables)
    self._context.writer.write(
      step,
      {
        f"{self._split}/{direction}/{name}": value
        for direction, values in result.items()
        for name, value in values.items()
      },
    )
    self.latest = (step, result[self._direction][self._metric])
    self._log.pause(time.monotonic() - began)


class Save:
  """Saves a checkpoint at intervals of steps and minutes, at each validation, at the end, and on a stop signal."""

  def __init__(
    self,
    context: Context,
    log: Log,
    evaluate: Evaluate | None,
    describe: Callable[[int, float | None, float | None], dict],
    *,
    best_score: float | None = None,
  ) -> None:
    """Makes it.

    Args:
      context: shared by the hooks.
      log: flushed before each save.
      evaluate: whose score is stored with a checkpoint; None where there is no selection split.
      describe: (step, score, best score) -> metadata of a checkpoint.
      best_score: of the stage's earlier runs.
    """
    self._context, self._log, self._evaluate, self._describe = context, log, evaluate, describe
    self._best_score = best_score
    self._since, self._minutes_are_over = time.monotonic(), InAnyProcess()

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
    context = self._context
    context.checkpoints.check()  # a failed save ends the run now, not when the next one is due
    is_stopping = context.stop.after_step()
    score = self._score_at(step)
    if self._is_due(step) or score is not None or is_stopping:
      self._log.flush()  # raises on a loss that is not finite, before it is saved
      context.writer.wait()  # or lines before the step from which a killed run resumes could be missing
      context.checkpoints.save(state, self._describe(step, score, self._best_score), score)
      self._since, self._minutes_are_over = time.monotonic(), InAnyProcess()  # older reports are answered by this save
    if is_stopping and step != context.num_steps:
      context.checkpoints.wait()
      log_line(f"stopped and saved at step {step}; run the same command to go on")
      raise SystemExit(context.stop.status())

  def _score_at(self, step: int) -> float | None:
    """Returns the score of a validation at this step, None without one; updates the best score."""
    scored_step, score = self._evaluate.latest if self._evaluate else (0, None)
    if scored_step != step or score is None:
      return None
    self._best_score = score if self._best_score is None else max(score, self._best_score)
    return score

  def _is_due(self, step: int) -> bool:
    context = self._context
    is_due = step % context.save_every_steps == 0 or step % context.steps_per_epoch == 0 or step == context.num_steps
    if context.save_every_minutes:
      seconds = time.monotonic() - self._since
      is_due = self._minutes_are_over.after_step(seconds >= 60 * context.save_every_minutes) or is_due
    return is_due
