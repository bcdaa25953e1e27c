"""Fits an experiment: its steps, with hooks after each of them."""

import time
from collections.abc import Sequence
from typing import Any

import jax

from tireid_jax.errors import DivergedError
from tireid_jax.parallel import distributed
from tireid_jax.profiling import capture
from tireid_jax.storage.lock import Lock
from tireid_jax.terminal.progress import bar
from tireid_jax.training import divergence, garbage, hooks, optimizers, protocol_report
from tireid_jax.training.experiment import Experiment
from tireid_jax.training.start import Start, check_frozen, checkpoint_metadata
from tireid_jax.training.state import TrainState
from tireid_jax.training.stopping import StopRequest
from tireid_jax.workdir.checkpoint import Checkpoints
from tireid_jax.workdir.metric_log import MetricWriter


def fit(
  experiment: Experiment,
  start: Start,
  checkpoints: Checkpoints,
  *,
  stop: StopRequest,
  lock: Lock,
  profile: capture.Window | None = None,
  reports_protocol: bool = False,
) -> float:
  """Trains to the last step and returns the seconds that took, earlier runs of the stage included.

  Args:
    experiment: what is trained.
    start: where it starts; its state is donated to the first step.
    checkpoints: of the stage.
    stop: signals received; one ends the run after the step at hand, with a checkpoint.
    lock: on the workdir, checked after each step.
    profile: steps that are traced, None for none.
    reports_protocol: score the test split too at each validation, for `protocol_report`.

  Raises:
    DivergedError: a step produced NaN or infinity. It names the dump of that step.
    ValueError: variables that the stage does not train have changed.
    SystemExit: it was stopped.
  """
  began, train_step = time.monotonic(), experiment.program.step()

  def metadata(step: int, score: float | None, best_score: float | None) -> dict[str, Any]:
    seconds = start.seconds + time.monotonic() - began
    return checkpoint_metadata(experiment, start, step=step, seconds=seconds, score=score, best_score=best_score)

  with (
    MetricWriter(experiment.folder, first_step=start.first_step, enabled=distributed.is_first()) as writer,
    experiment.batches,
    _progress_bar(experiment, start) as progress,
    garbage.FreezeGarbage() as freeze_garbage,
  ):
    context = _context(experiment, writer, progress, checkpoints, stop)
    log = hooks.Log(context, learning_rates=_learning_rates(experiment), all_finite=experiment.all_finite)
    evaluate = None
    if experiment.selection_split is not None:
      config = experiment.config
      evaluate = hooks.Evaluate(context, log, experiment.score, split=config.select_on, select_by=config.select_by)
    score_test = protocol_report.ScoreTest(context, log, experiment) if reports_protocol else None
    save = hooks.Save(context, log, evaluate, metadata, best_score=start.best_score)
    profiler = capture.Profile(
      profile, experiment.folder, log, number=experiment.stage.number, first_step=start.first_step
    )
    # Validation comes after the log, which shows the step's loss, and before the save, which stores its score.
    every = (hooks.CheckLock(lock), log, evaluate, score_test, save, freeze_garbage, profiler)
    after_step = [hook for hook in every if hook]
    diverged = None
    try:
      with profiler:
        state = take_steps(experiment, start.state, train_step, after_step, profiler)
      log.flush()
    except hooks.NotFiniteError as error:
      diverged = error.with_traceback(None)  # the traceback holds the state, whose memory is needed
    if diverged is not None:
      try:
        ending = divergence.explain(diverged, experiment, start, checkpoints, train_step, stop)
      except (OSError, ValueError) as error:
        raise DivergedError(f"{diverged}; what it started from could not be found or written: {error}") from error
      raise ending
  check_frozen(experiment, start, state.variables, experiment.num_steps)
  return start.seconds + time.monotonic() - began


def take_steps(
  experiment: Experiment, state: TrainState, train_step: Any, after_step: Sequence[Any], profiler: capture.Profile
) -> TrainState:
  """Returns the state after the last step; `train_step` and the hooks `after_step` are called for each."""
  for step in range(int(state.step), experiment.num_steps):
    with profiler.step(step + 1):
      state, metrics = train_step(state, experiment.batch(step))
      for hook in after_step:
        hook(step + 1, state, metrics)
  return state


def _context(experiment, writer, progress, checkpoints, stop):
  config, stage, steps_per_epoch = experiment.config, experiment.stage, experiment.batches.steps_per_epoch
  return hooks.Context(
    writer=writer,
    progress=progress,
    checkpoints=checkpoints,
    stop=stop,
    num_steps=experiment.num_steps,
    steps_per_epoch=steps_per_epoch,
    batch_size=stage.batch_size,
    log_every_steps=config.log_every_steps,
    save_every_steps=config.checkpoint_every_steps,
    save_every_minutes=config.checkpoint_every_minutes,
    evaluate_every_steps=stage.evaluate_every_epochs * steps_per_epoch,
  )


def _progress_bar(experiment, start):
  return bar(
    total=experiment.num_steps, initial=start.first_step, desc=f"stage {experiment.stage.number}", unit="step",
    disable=not distributed.is_first(),
  )  # fmt: skip


def _learning_rates(experiment):
  """Returns {parameter group: step -> learning rate} of the groups that the model has."""
  present = set(jax.tree.leaves(experiment.program.labels))
  rates = optimizers.learning_rates(experiment.stage, experiment.batches.steps_per_epoch)
  return {group: rate for group, rate in rates.items() if group in present}
