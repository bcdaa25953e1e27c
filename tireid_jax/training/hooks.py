"""What happens beside the steps, as logging and saving. Each hook decides by itself whether a step is its own."""

import collections
import gc
import os
import signal
import threading
import time

import jax
import numpy as np

from tireid_jax.errors import DivergedError
from tireid_jax.parallel import distributed
from tireid_jax.terminal.progress import say

# Steps after which several processes know of each other's signals, so that no step waits to hear of them.
STOP_LAG_STEPS = 2


class _Agreed:
  """A claim that every process makes after each step, and of which all hear alike whether it held in any of them."""

  def __init__(self):
    self._asked: collections.deque = collections.deque()

  def after_step(self, claim):
    if jax.process_count() == 1:
      return claim
    self._asked.append(distributed.in_any_process(claim))
    return len(self._asked) > STOP_LAG_STEPS and bool(self._asked.popleft())


class StopRequest:
  """Notes SIGTERM and Ctrl-C while it is entered, so that the run can save before it ends.

  All processes stop at the same step and end with the same status. A second Ctrl-C ends the process at once.
  """

  def __init__(self):
    self._noted = 0  # the signal's number
    self._agreed = _Agreed()
    self._before: dict = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():  # in another one Python allows no handler
      # SIGINT is ignored where a shell started this in the background, so that Ctrl-C is for what runs in front.
      heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
      self._before = {number: signal.signal(number, self._note) for number in heard}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _note(self, number, _):
    if number == signal.SIGINT:
      if self._noted == signal.SIGINT:
        os.write(2, b"\ninterrupted\n")
        os._exit(128 + signal.SIGINT)
      os.write(2, b"\nstopping after this step; Ctrl-C again ends at once, without saving\n")
    if self._noted != signal.SIGINT:
      self._noted = number

  def after_step(self):
    """Whether to stop after this step; every process asks after every step and hears the same."""
    return self._agreed.after_step(bool(self._noted))

  def by_now(self):
    """Whether a signal came to any process at all; all of them ask, and wait for the answer."""
    return bool(distributed.in_any_process(bool(self._noted)))

  def status(self):
    """Returns the exit status of a run that was stopped, 143, or 130 after Ctrl-C in any process; all of them ask."""
    return 128 + (signal.SIGINT if distributed.in_any_process(self._noted == signal.SIGINT) else signal.SIGTERM)


class Collector:
  """Keeps Python's garbage collector from halting steps, while it is entered.

  A full collection goes through all that JAX and the traced programs are made of. It takes 0.1 to 0.3 s, in which no
  step is started, again and again, and where there are several processes, all wait for the one that collects. From the
  first step on, what is there by then is left out.
  """

  def __init__(self):
    self._is_done = False

  def __enter__(self):
    return self

  def __exit__(self, *_):
    gc.unfreeze()

  def __call__(self, step, state, metrics):
    if not self._is_done:
      gc.collect()  # beside the first step; what is frozen is not freed before the end
      gc.freeze()
      self._is_done = True


class NotFiniteError(DivergedError):
  """A step came to values that are not finite.

  Attributes:
    step: its number, from 1; where only weights tell, the last that it may be.
    metrics: {name: float} of it, {} where only weights tell.
  """

  def __init__(self, step, metrics):
    bad = [f"{name} is {value}" for name, value in metrics.items() if not np.isfinite(value)]
    super().__init__(f"{bad[0] if bad else 'a weight is not finite'} at step {step}")
    self.step, self.metrics = step, metrics


class Log:
  """Writes means over the steps since the last line, rates and speed; raises on values that are not finite.

  The values stay on the device until a line is due, so that no step waits for the log.
  """

  def __init__(self, writer, bar, *, every_steps, learning_rates, batch_size, all_finite=lambda variables: True):
    """Opens it.

    Args:
      writer: log.MetricWriter.
      bar: of progress.
      every_steps: between two lines.
      learning_rates: {group: step -> rate}.
      batch_size: B.
      all_finite: variables -> bool[], whether all that is trained is finite; asked where a line is due.
    """
    self._writer, self._bar, self._every_steps = writer, bar, every_steps
    self._learning_rates, self._batch_size = learning_rates, batch_size
    self._all_finite, self._variables = all_finite, None
    self._pending, self._since = [], time.monotonic()
    self._is_first = True

  def __call__(self, step, state, metrics):
    self._pending.append((step, metrics))
    self._variables = state and state.variables
    self._bar.update()
    if self._is_first:
      # Shown once it is done, not at the next interval: launch/failure.sh tells failures before it from others.
      jax.block_until_ready(metrics)
      self._bar.refresh()
      self._is_first = False
    if step % self._every_steps == 0:
      self.flush()

  def flush(self):
    """Writes what has not been written yet.

    Raises:
      NotFiniteError: a loss, a gradient's norm or a weight is not finite.
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
    speed = {"speed/examples_per_second": len(steps) * self._batch_size / (now - self._since)}
    self._writer.write(steps[-1], {**means, **rates, **speed})
    self._bar.set_postfix_str(f"loss {means['loss/total']:.3f}", refresh=False)
    self._pending, self._since = [], now

  def wait(self):
    """Returns once all that was written is stored."""
    self._writer.wait()

  def pause(self, seconds):
    """Leaves so many seconds out of the next line's speed."""
    self._since += seconds


class Evaluate:
  """Scores the selection split at the end of every few epochs and keeps the latest score."""

  def __init__(self, score, writer, log, *, every_steps, last_step, split):
    self._score, self._writer, self._log = score, writer, log
    self._every_steps, self._last_step, self._split = every_steps, last_step, split
    self.latest = (0, None)

  def __call__(self, step, state, metrics):
    if step % self._every_steps and step != self._last_step:
      return
    self._log.flush()  # a loss that is not finite raises here, and names its step
    began = time.monotonic()
    result = self._score(state.variables)
    self._writer.write(
      step, {f"{self._split}/{way}/{name}": value for way in result for name, value in result[way].items()}
    )
    self.latest = (step, result["t2i"]["R@1"])
    self._log.pause(time.monotonic() - began)


class Save:
  """Saves every so many steps and minutes, at each validation, at the end, and when the run is to stop."""

  def __init__(
    self, checkpoints, log, evaluate, stop, describe, *, best_score, every_steps, every_minutes, epoch_steps, last_step
  ):
    self._checkpoints, self._log, self._evaluate = checkpoints, log, evaluate
    self._stop, self._describe = stop, describe
    self._best_score = best_score
    self._every_steps, self._epoch_steps, self._last_step = every_steps, epoch_steps, last_step
    self._every_seconds, self._since, self._is_time = 60 * every_minutes, time.monotonic(), _Agreed()

  def __call__(self, step, state, metrics):
    self._checkpoints.check()  # a save that has failed ends the run now, not when the next one is due
    stopping = self._stop.after_step()
    scored_step, score = self._evaluate.latest if self._evaluate else (0, None)
    score = score if scored_step == step else None
    if score is not None:
      self._best_score = score if self._best_score is None else max(score, self._best_score)
    is_due = step % self._every_steps == 0 or step % self._epoch_steps == 0 or step == self._last_step
    if self._every_seconds:
      is_due = self._is_time.after_step(time.monotonic() - self._since >= self._every_seconds) or is_due
    if is_due or score is not None or stopping:
      self._log.flush()  # a loss that is not finite raises here, before it is saved
      self._log.wait()  # or lines could be missing before the step that a killed run resumes from
      self._checkpoints.save(state, self._describe(step, score, self._best_score), score)
      self._since, self._is_time = time.monotonic(), _Agreed()  # claims of before this save are answered by it
    if stopping and step != self._last_step:
      self._checkpoints.wait()
      say(f"stopped and saved at step {step}; run the same command to go on")
      raise SystemExit(self._stop.status())
