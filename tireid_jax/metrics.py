"""Retrieval metrics: recall@k, mean average precision, mean inverse negative penalty; exact, ties by lowest index."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from tireid_jax.errors import UserError

# Directions of retrieval, by their names in logs and results.
DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}
# Queries in a block of similarities, of which two are in memory: 1024 against ICFG's gallery of 19,848 take 81 MB.
BLOCK_QUERIES = 1024
# Queries whose similarities a thread sorts at a time: few enough that they and their sorted copy fit the CPU's cache.
CHUNK_QUERIES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class QueryScores:
  """How well each query retrieves its positives, the gallery images of its identity.

  Attributes:
    query_ids: identity of each query.
    first_rank: rank of the first positive, from 1.
    average_precision: mean over positives of the precision at the positive's rank, 0..1.
    inverse_negative_penalty: number of positives over the rank of the last one, 0..1.
  """

  query_ids: Int[np.ndarray, " N"]
  first_rank: Int[np.ndarray, " N"]
  average_precision: Float[np.ndarray, " N"]
  inverse_negative_penalty: Float[np.ndarray, " N"]

  def by_query(self) -> dict[str, Float[np.ndarray, " N"]]:
    """Returns every metric of METRICS for each query, percent."""
    return {name: 100.0 * metric(self) for name, metric in METRICS.items()}

  def summary(self) -> dict[str, float]:
    """Returns every metric of METRICS, percent: its mean over all queries."""
    return {name: float(np.mean(values)) for name, values in self.by_query().items()}

  def to_arrays(self, prefix: str) -> dict[str, np.ndarray]:
    """Returns each field as PREFIX_FIELD, for an npz file."""
    return {f"{prefix}_{field.name}": getattr(self, field.name) for field in dataclasses.fields(self)}

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> "QueryScores":
    """Returns the scores that `to_arrays` wrote; raises ValueError unless each field has one number per query."""
    found = {field.name: np.asarray(arrays[f"{prefix}_{field.name}"]) for field in dataclasses.fields(cls)}
    shape = found["query_ids"].shape
    for name, values in found.items():
      if values.shape != shape or len(shape) != 1 or not shape[0] or values.dtype.kind not in "iuf":
        raise UserError(f"{prefix}_{name} is {values.dtype}{list(values.shape)}, no number for each query")
    return cls(**found)


def _recall(scores: QueryScores, *, k: int) -> Bool[np.ndarray, " N"]:
  """Returns whether a positive is among the first k."""
  return scores.first_rank <= k


# Name -> the metric of each query, from 0 to 1, higher is better. A metric that is added here is in every log, table
# and result, and can select the best checkpoint (`select_by` in the config).
METRICS: dict[str, Callable[[QueryScores], np.ndarray]] = {
  **{f"R@{k}": functools.partial(_recall, k=k) for k in (1, 5, 10)},
  "mAP": lambda scores: scores.average_precision,
  "mINP": lambda scores: scores.inverse_negative_penalty,
}
# What `select_by` may be.
SELECTABLE = tuple(f"{direction}/{metric}" for direction in DIRECTIONS for metric in METRICS)


def rank_metrics(
  similarity: Float[np.ndarray, "N G"], query_ids: Int[np.ndarray, " N"], gallery_ids: Int[np.ndarray, " G"]
) -> dict[str, float]:
  """Returns "R@1", "R@5", "R@10", "mAP" and "mINP", percent; a larger similarity ranks first."""
  return rank_scores(similarity, query_ids, gallery_ids).summary()


def retrieval_metrics(
  query_embeddings: Float[np.ndarray, "N E"],
  gallery_embeddings: Float[np.ndarray, "G E"],
  query_ids: Int[np.ndarray, " N"],
  gallery_ids: Int[np.ndarray, " G"],
) -> dict[str, float]:
  """Returns the metrics of `rank_metrics` for cosine similarity, computed in blocks of queries."""
  return query_scores(query_embeddings, gallery_embeddings, query_ids, gallery_ids).summary()


def rank_scores(
  similarity: Float[np.ndarray, "N G"], query_ids: Int[np.ndarray, " N"], gallery_ids: Int[np.ndarray, " G"]
) -> QueryScores:
  """Returns the scores of each query; a larger similarity ranks first.

  Raises:
    ValueError: for NaN, or a query without a gallery image of its identity.
  """
  similarity = np.asarray(similarity)
  expected = (len(query_ids), len(gallery_ids))
  if similarity.shape != expected:
    raise ValueError(f"the similarity is {similarity.shape}, but there are ids of {expected}; give [queries, gallery]")
  return _scores(_checked_blocks(similarity), query_ids, gallery_ids)


def query_scores(
  query_embeddings: Float[np.ndarray, "N E"],
  gallery_embeddings: Float[np.ndarray, "G E"],
  query_ids: Int[np.ndarray, " N"],
  gallery_ids: Int[np.ndarray, " G"],
) -> QueryScores:
  """Returns the scores of each query by cosine similarity; errors as of `rank_scores`."""
  for side, embeddings, ids in (("query", query_embeddings, query_ids), ("gallery", gallery_embeddings, gallery_ids)):
    if len(embeddings) != len(ids):
      raise ValueError(f"there are {len(embeddings)} {side} embeddings and {len(ids)} ids of them; give one id each")
  return _scores(_cosine_blocks(query_embeddings, gallery_embeddings), query_ids, gallery_ids)


def top_gallery(
  query_embeddings: Float[np.ndarray, "N E"], gallery_embeddings: Float[np.ndarray, "G E"], k: int
) -> tuple[Int[np.ndarray, "N k"], Float[np.ndarray, "N k"]]:
  """Returns (indices, similarities) of the k nearest gallery images of each query, best first.

  Ties are broken by the lowest index. A gallery of fewer than k images is returned whole.
  """
  if k < 1:
    raise ValueError(f"the number of gallery images to return is {k}; it must be at least 1")
  if not len(gallery_embeddings):
    raise UserError("there are no gallery images to return; the gallery is empty")
  k = min(k, len(gallery_embeddings))
  indices, values = np.empty((len(query_embeddings), k), np.int64), np.empty((len(query_embeddings), k), np.float32)
  for block, similarity in _cosine_blocks(query_embeddings, gallery_embeddings):
    thresholds = np.partition(similarity, -k, axis=1)[:, -k]
    for offset, (row, threshold) in enumerate(zip(similarity, thresholds, strict=True)):
      # All ties with the k-th are candidates, so that the stable sort selects those with the lowest indices.
      candidates = np.flatnonzero(row >= threshold)
      best = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
      indices[block.start + offset], values[block.start + offset] = best, row[best]
  return indices, values


def _blocks(num_queries):
  return [slice(start, min(start + BLOCK_QUERIES, num_queries)) for start in range(0, num_queries, BLOCK_QUERIES)]


def _checked_blocks(similarity):
  """Yields (slice of the queries, their similarities f[block, G])."""
  for block in _blocks(len(similarity)):
    is_nan = np.isnan(similarity[block]).any(axis=1)
    if is_nan.any():
      raise ValueError(f"the similarities of query {block.start + np.argmax(is_nan)} hold NaN; they cannot be ranked")
    yield block, similarity[block]


def _cosine_blocks(query_embeddings, gallery_embeddings):
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


def _scores(blocks, query_ids, gallery_ids):
  """Returns the QueryScores; `blocks` yields (slice of the queries, f[block, G]) in order."""
  query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
  if not len(query_ids):
    raise UserError("there are no queries to score; the split is empty")
  unmatched = np.flatnonzero(~np.isin(query_ids, gallery_ids))
  if unmatched.size:
    named = ", ".join(f"query {i} (id {query_ids[i]})" for i in unmatched[:3])
    raise UserError(f"{unmatched.size} queries have no image of their identity in the gallery: {named}")
  gallery = np.argsort(gallery_ids, kind="stable")
  begins, ends = (np.searchsorted(gallery_ids[gallery], query_ids, side) for side in ("left", "right"))
  num = ends - begins
  starts = np.cumsum(num) - num  # of each query's positives in the concatenation over queries
  number = np.arange(num.sum()) - np.repeat(starts, num)  # index of each positive among those of its query
  positives = gallery[np.repeat(begins, num) + number]
  ranks = np.empty(len(positives), np.int64)
  with _Ranker() as ranker:
    for block, similarity in _prefetch(blocks):
      own = slice(starts[block.start], starts[block.stop - 1] + num[block.stop - 1])
      ranks[own] = ranker.ranks(similarity, positives[own], num[block])
  return QueryScores(
    query_ids,
    first_rank=ranks[starts],
    average_precision=np.add.reduceat((number + 1) / ranks, starts) / num,
    inverse_negative_penalty=num / ranks[starts + num - 1],
  )


def _prefetch(blocks):
  """Yields the items of `blocks`, computing the next one in a thread meanwhile."""
  blocks = iter(blocks)
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    pending = thread.submit(next, blocks, None)
    while (block := pending.result()) is not None:
      pending = thread.submit(next, blocks, None)
      yield block


class _Ranker:
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
