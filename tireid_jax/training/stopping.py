"""How a run that gets SIGTERM or Ctrl-C stops: after the step at hand, in all processes at the same step."""

import collections
import os
import signal
import threading

import jax

from tireid_jax.parallel import distributed

# Steps after which several processes know of each other's signals, so that no step waits for the exchange.
STOP_LAG_STEPS = 2


class InAnyProcess:
  """A condition that each process reports after every step; all of them learn together whether it held in any."""

  def __init__(self) -> None:
    self._pending: collections.deque = collections.deque()

  def after_step(self, condition: bool) -> bool:
    """Returns whether it held in any process, as of `STOP_LAG_STEPS` steps ago where there are several."""
    if jax.process_count() == 1:
      return condition
    self._pending.append(distributed.in_any_process(condition))
    return len(self._pending) > STOP_LAG_STEPS and bool(self._pending.popleft())


class StopRequest:
  """Catches SIGTERM and Ctrl-C inside a `with` block, so that the run can save a checkpoint before it ends.

  All processes stop at the same step and exit with the same status. A second Ctrl-C ends the process at once.
  """

  def __init__(self) -> None:
    self._signal = 0  # 0 until one is received
    self._in_any = InAnyProcess()
    self._previous_handlers: dict = {}

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():  # Python allows handlers in this one only
      # A shell that starts a command in the background makes it ignore SIGINT: Ctrl-C is for the foreground command.
      caught = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
      self._previous_handlers = {number: signal.signal(number, self._receive) for number in caught}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._previous_handlers.items():
      signal.signal(number, handler)

  def _receive(self, number, _):
    if number == signal.SIGINT:
      if self._signal == signal.SIGINT:
        os.write(2, b"\ninterrupted\n")
        os._exit(128 + signal.SIGINT)
      os.write(2, b"\nstopping after this step; Ctrl-C again ends at once, without saving\n")
    if self._signal != signal.SIGINT:
      self._signal = number

  def after_step(self) -> bool:
    """Whether to stop after this step. Every process calls it after every step and gets the same answer."""
    return self._in_any.after_step(bool(self._signal))

  def by_now(self) -> bool:
    """Whether any process has received a signal so far. Collective and blocking: every process calls it."""
    return bool(distributed.in_any_process(bool(self._signal)))

  def status(self) -> int:
    """Returns the exit status of a stopped run: 143, or 130 after Ctrl-C in any process. Every process calls it."""
    return 128 + (signal.SIGINT if distributed.in_any_process(self._signal == signal.SIGINT) else signal.SIGTERM)
