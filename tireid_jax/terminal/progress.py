"""Progress bars: a live bar on a terminal, one line an interval elsewhere."""

import sys

import jax
from tqdm import tqdm

# Seconds between two lines where the output is a file: often enough to see that a run lives, seldom enough to read.
LOG_INTERVAL_S = 15.0


def bar(iterable=None, *, total=None, desc="", unit="it", initial=0, disable=False):
  """Returns a tqdm over `iterable` (or to be advanced by `update`), with rate and time left.

  On a terminal it redraws in place. Elsewhere it writes a whole line every LOG_INTERVAL_S seconds.
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
  """Turns tqdm's carriage returns into line ends, so that a log file holds one line per refresh."""

  def write(self, text):
    line = text.strip("\r\n ")
    if line:
      sys.stderr.write(line + "\n")

  def flush(self):
    sys.stderr.flush()


def say(text):
  """Prints a line of a run's story to stderr, around any bar that is being drawn; process 0 alone does."""
  if jax.process_index() == 0:
    with tqdm.external_write_mode(file=sys.stderr):
      print(text, file=sys.stderr, flush=True)
