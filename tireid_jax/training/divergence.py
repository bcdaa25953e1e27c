"""What a run does about a step that produced NaN or infinity: find the state before it, dump it, and explain.

A run keeps no copy of its state, which would take as much memory again. So the state is recomputed from the last
checkpoint, by the steps since then: on CPUs, and with config.deterministic on GPUs, it has the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from tireid_jax.errors import DivergedError
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import dump
from tireid_jax.training.experiment import Experiment
from tireid_jax.training.hooks import NotFiniteError
from tireid_jax.training.start import Start, checkpoint_metadata, first_start
from tireid_jax.training.state import TrainState
from tireid_jax.training.stopping import StopRequest
from tireid_jax.workdir.checkpoint import Checkpoints

# Captions of the batch that the message names; the dump has all.
_NUM_NAMED = 16


def explain(
  error: NotFiniteError,
  experiment: Experiment,
  start: Start,
  checkpoints: Checkpoints,
  train_step: Callable,
  stop: StopRequest,
) -> DivergedError | SystemExit:
  """Returns the error that ends the run, once the step is dumped; SystemExit if a signal requested a stop meanwhile.

  Args:
    error: what the log found.
    experiment, start, checkpoints, train_step, stop: of the run.
  """
  checkpoints.wait()
  saved = checkpoints.latest_step()
  log_line(f"step {error.step} is not finite; recomputing from step {saved or 0} to find the state before it")

  def restore():
    return first_start(experiment).state if saved is None else checkpoints.restore(experiment.program.shapes)[0]

  state = find_again(restore, train_step, experiment.batch, experiment.all_finite, error.step, stop.after_step)
  if state is None:
    return SystemExit(stop.status())
  step, examples = int(state.step), experiment.batches.examples(int(state.step))
  metrics = error.metrics if step + 1 == error.step else {}
  message = describe(step + 1, metrics, examples, f"{experiment.train_split.name} train")
  folder = dump.write(
    experiment.folder, state, experiment.batch(step),
    {
      **checkpoint_metadata(experiment, start, step=step), **experiment.program.described(), "examples": examples,
      "metrics": {name: str(value) for name, value in metrics.items()},
    },
  )  # fmt: skip
  return DivergedError(
    f"{message}; python -m tireid_jax.replay {folder} shows where the first such value comes from. The last checkpoint "
    f"is kept. If it is not the fault of one example, lower the learning rate or set a clip_norm"
  )


def find_again(
  restore: Callable[[], TrainState],
  train_step: Callable,
  batches: Callable[[int], Any],
  all_finite: Callable[[Any], Any],
  last: int,
  is_stopped: Callable[[], bool],
) -> TrainState | None:
  """Returns the TrainState before the first step that is not finite, or None if stopped.

  If the restored state itself is not finite, it is returned.

  Args:
    restore: () -> TrainState of the last checkpoint, or of the stage's start.
    train_step, batches: as in training.
    all_finite: of the weights, as Program has it.
    last: a step, from 1, that is not finite; it is the first one but for those after which only weights were not.
    is_stopped: () -> bool, whether a signal requested a stop; called after each step.
  """

  def advance(state, is_there):
    while not is_there(state):
      state, _ = train_step(state, batches(int(state.step)))
      if is_stopped():
        return None
    return state

  state = advance(restore(), lambda state: int(state.step) == last - 1)
  if state is None or all_finite(state.variables):
    return state
  del state  # before another takes as much memory
  # The weights became non-finite before `last`. No copy of the states exists, so the steps are repeated to find where,
  # and then once more up to there. Neither need succeed: a GPU may compute other bits this time, and the restored state
  # may not have been finite itself.
  state = advance(restore(), lambda state: int(state.step) == last - 1 or not all_finite(state.variables))
  if state is None or all_finite(state.variables):
    return state
  first = int(state.step)
  del state
  return advance(restore(), lambda state: int(state.step) >= first - 1)


def describe(step: int, metrics: Mapping[str, float], examples: Sequence[dict[str, Any]], split: str) -> str:
  """Returns one line on the step: its number, its losses and gradient norms, its examples.

  Args:
    step: its number, from 1.
    metrics: {name: float} of it.
    examples: from `loader.Batches.examples`.
    split: name of the data set and split.
  """
  bad = [name for name, value in metrics.items() if not jax.numpy.isfinite(value)]
  head = f"{bad[0]} is {metrics[bad[0]]}" if bad else "weights are not finite"
  values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
  captions = ", ".join(str(example["caption"]) for example in examples[:_NUM_NAMED])
  more = f" and {len(examples) - _NUM_NAMED} more" if len(examples) > _NUM_NAMED else ""
  return f"{head} at step {step} ({values}), whose batch is captions {captions}{more} of {split}"
