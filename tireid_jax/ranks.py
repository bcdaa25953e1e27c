"""Ranks of positives in a gallery by sorting what each query has: exact, ties by lowest index."""

import concurrent.futures
import os

import numpy as np

# Rows that a thread sorts at a time; they and their sorted copy are to stay near the processor.
CHUNK_ROWS = 8


class Ranker:
  """Ranks positives in rows of similarities, in as many threads as there are cores; to be entered."""

  def __enter__(self):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    self._threads = concurrent.futures.ThreadPoolExecutor(cores)
    return self

  def __exit__(self, *_):
    self._threads.shutdown()

  def ranks(self, similarity, positives, num_positives):
    """Returns i64[sum of num_positives], the positives' ranks from 1, those of each row in turn and least first.

    Args:
      similarity: f[N, G], no NaN in it; larger is nearer.
      positives: i64[sum of num_positives] gallery indices, those of each row in turn.
      num_positives: i64[N], each at least 1.
    """
    ends = np.cumsum(num_positives)

    def chunk(start):
      rows = slice(start, start + CHUNK_ROWS)
      num = num_positives[rows]
      begin = ends[start] - num[0]
      return _ranks(similarity[rows], positives[begin : begin + num.sum()], num)

    return np.concatenate(list(self._threads.map(chunk, range(0, len(similarity), CHUNK_ROWS))))


def _ranks(similarity, positives, num_positives):
  rows = np.repeat(np.arange(len(similarity)), num_positives)
  values = similarity[rows, positives]
  ascending = np.sort(similarity, axis=1)
  stops = np.cumsum(num_positives)
  # How many are no nearer than each positive, itself and its equals among them.
  ends = np.concatenate(
    [
      row.searchsorted(values[stop - num : stop], "right")
      for row, stop, num in zip(ascending, stops, num_positives, strict=True)
    ]
  )
  ranks = 1 + similarity.shape[1] - ends
  # Of equals, those with a lower index stand before.
  for tied in np.flatnonzero((ends > 1) & (ascending[rows, ends - 2] == values)):
    ranks[tied] += np.count_nonzero(similarity[rows[tied], : positives[tied]] == values[tied])
  return ranks[np.lexsort((ranks, rows))]
