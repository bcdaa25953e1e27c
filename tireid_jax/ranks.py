"""Ranks of positives in a gallery by counting what stands before them: exact, ties by lowest index."""

import numpy as np

# Queries that are ranked together. More of them have no gain; their rows are to stay near the processor.
GROUP_ROWS = 32
# Candidates for each positive up to which sorting them takes less time than counting once for each positive.
SORTED_CANDIDATES = 32
# Eight marks to a word, and as many words as can be added up before a byte of their sum overflows (255), rounded down.
_WORD, _WORDS = 8, 128


class Ranker:
  """Ranks positives in rows of similarities to one gallery."""

  def __init__(self, gallery_size):
    self._size = gallery_size
    step = _WORD * _WORDS
    # What is beyond the gallery stays unmarked.
    self._marks = np.zeros((GROUP_ROWS, -(-gallery_size // step) * step), bool)

  def ranks(self, rows, positives):
    """Returns i64[N, P], the ranks of the positives in each row, from 1, least first.

    Args:
      rows: f[N, G] similarities of at most GROUP_ROWS queries that have the same positives; larger is nearer.
      positives: i64[P] gallery indices, ascending.
    """
    values = rows[:, positives]
    candidates = self._compared(np.greater_equal, rows, values.min(1))
    found = np.empty(values.shape, np.int64)
    is_few = self._count(len(rows)) <= SORTED_CANDIDATES * len(positives)
    for row in np.flatnonzero(is_few):
      found[row] = _sorted_ranks(rows[row], np.flatnonzero(candidates[row]), positives)
    if not is_few.all():
      found[~is_few] = self._counted_ranks(rows[~is_few], values[~is_few], positives)
    return found

  def _counted_ranks(self, rows, values, positives):
    found = np.empty(values.shape, np.int64)
    for number, index in enumerate(positives.tolist()):
      # Of equals, those with a lower index stand before.
      self._compared(np.greater_equal, rows, values[:, number], stop=index)
      self._compared(np.greater, rows, values[:, number], start=index)
      found[:, number] = 1 + self._count(len(rows))
    found.sort(axis=1)
    return found

  def _compared(self, comparison, rows, values, start=0, stop=None):
    """Marks the places start..stop at which rows compare so with their values; returns the rows' marks, a view."""
    marks = self._marks[: len(rows), : self._size]
    comparison(rows[:, start:stop], values[:, None], marks[:, start:stop])
    return marks

  def _count(self, num_rows):
    """Returns i64[N], how many marks there are in each of the first rows; numpy's own takes five times as long."""
    words = self._marks[:num_rows].view(np.uint64).reshape(num_rows, -1, _WORDS)
    by_byte = np.add.reduce(words, axis=2)
    return by_byte.view(np.uint8).reshape(num_rows, -1).sum(1, dtype=np.int64)


def _sorted_ranks(row, candidates, positives):
  """Returns i64[P], least first; all that could stand before a positive is among the ascending candidates."""
  is_positive = np.zeros(len(candidates), bool)
  is_positive[np.searchsorted(candidates, positives)] = True
  return 1 + np.flatnonzero(is_positive[np.argsort(-row[candidates], kind="stable")])
