"""Limits the rate of requests."""

import collections
import threading
import time
from collections.abc import Callable

# Clients that are remembered; the one that was quiet the longest is forgotten first.
_MAX_CLIENTS = 10_000


class Rate:
  """A token bucket for each client: `per_minute` requests, of which all may come at once."""

  def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
    """`clock` returns seconds."""
    self._per_minute, self._clock = per_minute, clock
    self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()
    self._lock = threading.Lock()

  def wait_s(self, client: str) -> float:
    """Counts a request and returns 0; or, if there are too many, the seconds until the next is accepted."""
    with self._lock:
      now = self._clock()
      left, then = self._buckets.pop(client, (float(self._per_minute), now))
      left = min(float(self._per_minute), left + (now - then) * self._per_minute / 60)
      accepted = left >= 1
      self._buckets[client] = (left - accepted, now)
      if len(self._buckets) > _MAX_CLIENTS:
        self._buckets.popitem(last=False)
    return 0.0 if accepted else (1 - left) * 60 / self._per_minute
