"""Retrieval figures: Rank-k, mean average precision, mean inverse negative penalty; exact, ties by lowest index."""

import concurrent.futures
import dataclasses
import hashlib
import os

import numpy as np

from tireid_jax.errors import UserError

RANKS = (1, 5, 10)
# Rows of similarity at a time, of which two blocks are held: 1024 against ICFG's gallery of 19,848 take 81 MB.
BLOCK_ROWS = 1024
# Rows that a thread sorts at a time; they and their sorted copy are to stay near the processor.
CHUNK_ROWS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class QueryScores:
  """What each query found.

  Attributes:
    query_ids: i64[N].
    first_rank: i64[N] rank of the first positive, from 1.
    average_precision: f64[N] mean over positives of the precision at the positive's rank, 0..1.
    inverse_negative_penalty: f64[N] number of positives over the rank of the last one, 0..1.
  """

  query_ids: np.ndarray
  first_rank: np.ndarray
  average_precision: np.ndarray
  inverse_negative_penalty: np.ndarray

  def by_query(self):
    """Returns {"R@1", "R@5", "R@10", "mAP", "mINP"}, f64[N] percent each."""
    figures = {f"R@{k}": self.first_rank <= k for k in RANKS}
    figures |= {"mAP": self.average_precision, "mINP": self.inverse_negative_penalty}
    return {name: 100.0 * values for name, values in figures.items()}

  def summary(self):
    """Returns {"R@1", "R@5", "R@10", "mAP", "mINP"}, percent."""
    return {name: float(np.mean(values)) for name, values in self.by_query().items()}

  def to_arrays(self, prefix):
    """Returns {prefix_field: array}, for an npz file."""
    return {f"{prefix}_{field.name}": getattr(self, field.name) for field in dataclasses.fields(self)}

  @classmethod
  def from_arrays(cls, arrays, prefix):
    """Returns the scores that `to_arrays` wrote; raises ValueError where these are no numbers of as many queries."""
    found = {field.name: np.asarray(arrays[f"{prefix}_{field.name}"]) for field in dataclasses.fields(cls)}
    shape = found["query_ids"].shape
    for name, values in found.items():
      if values.shape != shape or len(shape) != 1 or not shape[0] or values.dtype.kind not in "iuf":
        raise UserError(f"{prefix}_{name} is {values.dtype}{list(values.shape)}, no number for each query")
    return cls(**found)


def rank_metrics(similarity, query_ids, gallery_ids):
  """Returns {"R@1", "R@5", "R@10", "mAP", "mINP"}, percent, of f[N, G] similarities; larger is nearer."""
  return rank_scores(similarity, query_ids, gallery_ids).summary()


def retrieval_metrics(query_embeddings, gallery_embeddings, query_ids, gallery_ids):
  """Returns what `rank_metrics` does for the cosine similarity of f[N, E] and f[G, E], never held whole."""
  return query_scores(query_embeddings, gallery_embeddings, query_ids, gallery_ids).summary()


def rank_scores(similarity, query_ids, gallery_ids):
  """Returns the QueryScores of f[N, G] similarities; larger is nearer."""
  similarity = np.asarray(similarity)
  expected = (len(query_ids), len(gallery_ids))
  if similarity.shape != expected:
    raise ValueError(f"the similarity is {similarity.shape}, but there are ids of {expected}; give [queries, gallery]")
  return _scores(_checked_blocks(similarity), query_ids, gallery_ids)


def query_scores(query_embeddings, gallery_embeddings, query_ids, gallery_ids):
  """Returns the QueryScores of f[N, E] queries in a gallery f[G, E], by cosine similarity."""
  for side, embeddings, ids in (("query", query_embeddings, query_ids), ("gallery", gallery_embeddings, gallery_ids)):
    if len(embeddings) != len(ids):
      raise ValueError(f"there are {len(embeddings)} {side} embeddings and {len(ids)} ids of them; give one id each")
  return _scores(_cosine_blocks(query_embeddings, gallery_embeddings), query_ids, gallery_ids)


def top_gallery(query_embeddings, gallery_embeddings, k):
  """Returns (indices i64[N, k], similarities f32[N, k]) of the nearest of the gallery, best first.

  Among equals the lowest index comes first. Where the gallery holds fewer than k, all of it is returned.
  """
  if k < 1:
    raise ValueError(f"the number of gallery images to return is {k}; it must be at least 1")
  if not len(gallery_embeddings):
    raise UserError("there are no gallery images to return; the gallery is empty")
  k = min(k, len(gallery_embeddings))
  indices, values = np.empty((len(query_embeddings), k), np.int64), np.empty((len(query_embeddings), k), np.float32)
  for rows, similarity in _cosine_blocks(query_embeddings, gallery_embeddings):
    thresholds = np.partition(similarity, -k, axis=1)[:, -k]
    for offset, (row, threshold) in enumerate(zip(similarity, thresholds, strict=True)):
      # All that tie with the last one take part, so that the sort, a stable one, leaves the lowest indices in.
      candidates = np.flatnonzero(row >= threshold)
      best = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
      indices[rows.start + offset], values[rows.start + offset] = best, row[best]
  return indices, values


def _blocks(num_rows):
  return [slice(start, min(start + BLOCK_ROWS, num_rows)) for start in range(0, num_rows, BLOCK_ROWS)]


def _checked_blocks(similarity):
  """Yields (slice of the queries, f[rows, G])."""
  for rows in _blocks(len(similarity)):
    block = similarity[rows]
    broken = np.isnan(block).any(axis=1)
    if broken.any():
      raise ValueError(f"the similarities of query {rows.start + np.argmax(broken)} hold NaN; they cannot be ranked")
    yield rows, block


def _cosine_blocks(query_embeddings, gallery_embeddings):
  """Yields (slice of the queries, f32[rows, G])."""
  query, gallery = _normalised(query_embeddings, "query"), _normalised(gallery_embeddings, "gallery")
  copies, originals = _repeated_rows(gallery)
  for rows in _blocks(len(query)):
    similarity = query[rows] @ gallery.T  # [rows, G]
    # The product rounds equal columns differently where they lie at the edge of a tile; equal must stay equal, or
    # rounding would decide among them instead of the lowest index.
    similarity[:, copies] = similarity[:, originals]
    yield rows, similarity


def _repeated_rows(embeddings):
  """Returns (rows that are equal to an earlier one, the first that each is equal to)."""
  first: dict[bytes, int] = {}
  found = [first.setdefault(hashlib.blake2b(row).digest(), number) for number, row in enumerate(embeddings)]
  copies = np.flatnonzero(np.array(found, np.int64) != np.arange(len(found)))
  return copies, np.array(found, np.int64)[copies]


def _normalised(embeddings, side):
  embeddings = np.asarray(embeddings, np.float32)
  if not np.isfinite(embeddings).all():
    raise UserError(f"the {side} embeddings hold values that are not finite; the model that made them has diverged")
  return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def _scores(blocks, query_ids, gallery_ids):
  """Returns the QueryScores; the blocks are (slice of the queries, f[rows, G]), in order."""
  query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
  if not len(query_ids):
    raise UserError("there are no queries to score; the split is empty")
  lacking = np.flatnonzero(~np.isin(query_ids, gallery_ids))
  if lacking.size:
    named = ", ".join(f"query {i} (id {query_ids[i]})" for i in lacking[:3])
    raise UserError(f"{lacking.size} queries have no image of their identity in the gallery: {named}")
  gallery = np.argsort(gallery_ids, kind="stable")
  begins, ends = (np.searchsorted(gallery_ids[gallery], query_ids, side) for side in ("left", "right"))
  num = ends - begins
  starts = np.cumsum(num) - num  # where each query's positives begin
  number = np.arange(num.sum()) - np.repeat(starts, num)  # of a positive among its query's
  positives = gallery[np.repeat(begins, num) + number]
  ranks = np.empty(len(positives), np.int64)
  with _Ranker() as ranker:
    for rows, similarity in _ahead(blocks):
      own = slice(starts[rows.start], starts[rows.stop - 1] + num[rows.stop - 1])
      ranks[own] = ranker.ranks(similarity, positives[own], num[rows])
  return QueryScores(
    query_ids,
    first_rank=ranks[starts],
    average_precision=np.add.reduceat((number + 1) / ranks, starts) / num,
    inverse_negative_penalty=num / ranks[starts + num - 1],
  )


def _ahead(blocks):
  """Yields what `blocks` does, and makes the next one in a thread meanwhile."""
  blocks = iter(blocks)
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    coming = thread.submit(next, blocks, None)
    while (block := coming.result()) is not None:
      coming = thread.submit(next, blocks, None)
      yield block


class _Ranker:
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
