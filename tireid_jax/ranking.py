"""Similarities in blocks of queries, and the ranks of the positives in them: the computation of the metrics."""

import concurrent.futures
import hashlib
import os

import numpy as np

from tireid_jax.errors import UserError

# Queries in a block of similarities, of which two are in memory: 1024 against ICFG's gallery of 19,848 take 81 MB.
BLOCK_QUERIES = 1024
# Queries whose similarities a thread sorts at a time: few enough that they and their sorted copy fit the CPU's cache.
CHUNK_QUERIES = 8


def _blocks(num_queries):
  return [slice(start, min(start + BLOCK_QUERIES, num_queries)) for start in range(0, num_queries, BLOCK_QUERIES)]


def checked_blocks(similarity):
  """Yields (slice of the queries, their similarities f[block, G])."""
  for block in _blocks(len(similarity)):
    is_nan = np.isnan(similarity[block]).any(axis=1)
    if is_nan.any():
      raise ValueError(f"the similarities of query {block.start + np.argmax(is_nan)} hold NaN; they cannot be ranked")
    yield block, similarity[block]


def cosine_blocks(query_embeddings, gallery_embeddings):
  """Yields (slice of the queries, their similarities f32[block, G])."""
  query, gallery = _normalised(query_embeddings, "query"), _normalised(gallery_embeddings, "gallery")
  copies, originals = _find_duplicates(gallery)
  for block in _blocks(len(query)):
    similarity = query[block] @ gallery.T  # [block, G]
    # The product may round equal columns differently at the edge of a tile. Equal embeddings must have equal
    # similarities, or rounding would break the tie instead of the lowest index.
    similarity[:, copies] = similarity[:, originals]
    yield block, similarity


def _find_duplicates(embeddings):
  """Returns (indices of embeddings that equal an earlier one, index of the first that each equals)."""
  first: dict[bytes, int] = {}
  found = [first.setdefault(hashlib.blake2b(row).digest(), index) for index, row in enumerate(embeddings)]
  copies = np.flatnonzero(np.array(found, np.int64) != np.arange(len(found)))
  return copies, np.array(found, np.int64)[copies]


def _normalised(embeddings, side):
  embeddings = np.asarray(embeddings, np.float32)
  if not np.isfinite(embeddings).all():
    raise UserError(f"the {side} embeddings hold values that are not finite; the model that made them has diverged")
  return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def prefetch(blocks):
  """Yields the items of an iterator, computing the next one in a thread meanwhile."""
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    pending = thread.submit(next, blocks, None)
    while (block := pending.result()) is not None:
      pending = thread.submit(next, blocks, None)
      yield block


class Ranker:
  """Ranks positives in a thread pool of one thread per core; a context manager."""

  def __enter__(self):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    self._threads = concurrent.futures.ThreadPoolExecutor(cores)
    return self

  def __exit__(self, *_):
    self._threads.shutdown()

  def ranks(self, similarity, positives, num_positives):
    """Returns i64[num_positives.sum()]: the ranks of all positives from 1, query by query, ascending in each.

    Args:
      similarity: f[N, G] without NaN.
      positives: i64[num_positives.sum()] gallery indices, query by query.
      num_positives: i64[N] of each query, at least 1.
    """
    ends = np.cumsum(num_positives)

    def chunk(start):
      queries = slice(start, start + CHUNK_QUERIES)
      num = num_positives[queries]
      begin = ends[start] - num[0]
      return _ranks(similarity[queries], positives[begin : begin + num.sum()], num)

    return np.concatenate(list(self._threads.map(chunk, range(0, len(similarity), CHUNK_QUERIES))))


def _ranks(similarity, positives, num_positives):
  queries = np.repeat(np.arange(len(similarity)), num_positives)
  values = similarity[queries, positives]
  ascending = np.sort(similarity, axis=1)
  stops = np.cumsum(num_positives)
  # How many gallery images are at most as similar as each positive, including itself and ties.
  ends = np.concatenate(
    [
      row.searchsorted(values[stop - num : stop], "right")
      for row, stop, num in zip(ascending, stops, num_positives, strict=True)
    ]
  )
  ranks = 1 + similarity.shape[1] - ends
  # Ties with a lower index rank before the positive.
  for tied in np.flatnonzero((ends > 1) & (ascending[queries, ends - 2] == values)):
    ranks[tied] += np.count_nonzero(similarity[queries[tied], : positives[tied]] == values[tied])
  return ranks[np.lexsort((ranks, queries))]
