"""Progress bars and log lines."""

import sys
from collections.abc import Iterable
from typing import Any

import jax
from tqdm import tqdm

# Seconds between lines if the output is a file: often enough to show progress, rarely enough to read.
LOG_INTERVAL_S = 15.0


def bar(
  iterable: Iterable[Any] | None = None,
  *,
  total: int | None = None,
  desc: str = "",
  unit: str = "it",
  initial: int = 0,
  disable: bool = False,
) -> tqdm:
  """Returns a tqdm bar over `iterable` (or advanced by `update`) with the rate and the remaining time.

  On a terminal it is redrawn in place; otherwise it writes a line every LOG_INTERVAL_S seconds.
  """
  live = sys.stderr.isatty()
  return tqdm(
    iterable,
    total=total,
    desc=desc,
    unit=unit,
    initial=initial,
    disable=disable,
    file=sys.stderr if live else _LineWriter(),
    mininterval=0.1 if live else LOG_INTERVAL_S,
    maxinterval=10.0 if live else LOG_INTERVAL_S,
    ncols=None if live else 110,
    dynamic_ncols=live,
  )


class _LineWriter:
  """Replaces tqdm's carriage returns by newlines, so that a log file has one line per refresh."""

  def write(self, text):
    line = text.strip("\r\n ")
    if line:
      sys.stderr.write(line + "\n")

  def flush(self):
    sys.stderr.flush()


def log_line(text: str) -> None:
  """Logs a line to stderr without breaking a progress bar; only process 0 does."""
  if jax.process_index() == 0:
    with tqdm.external_write_mode(file=sys.stderr):
      print(text, file=sys.stderr, flush=True)
