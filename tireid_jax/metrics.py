"""Retrieval metrics: recall@k, mean average precision, mean inverse negative penalty; exact, ties by lowest index."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from tireid_jax import ranking
from tireid_jax.errors import UserError

# Directions of retrieval, by their names in logs and results.
DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}


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
  return _scores(ranking.checked_blocks(similarity), query_ids, gallery_ids)


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
  return _scores(ranking.cosine_blocks(query_embeddings, gallery_embeddings), query_ids, gallery_ids)


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
  for block, similarity in ranking.cosine_blocks(query_embeddings, gallery_embeddings):
    thresholds = np.partition(similarity, -k, axis=1)[:, -k]
    for offset, (row, threshold) in enumerate(zip(similarity, thresholds, strict=True)):
      # All ties with the k-th are candidates, so that the stable sort selects those with the lowest indices.
      candidates = np.flatnonzero(row >= threshold)
      best = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
      indices[block.start + offset], values[block.start + offset] = best, row[best]
  return indices, values


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
  with ranking.Ranker() as ranker:
    for block, similarity in ranking.prefetch(blocks):
      own = slice(starts[block.start], starts[block.stop - 1] + num[block.stop - 1])
      ranks[own] = ranker.ranks(similarity, positives[own], num[block])
  return QueryScores(
    query_ids,
    first_rank=ranks[starts],
    average_precision=np.add.reduceat((number + 1) / ranks, starts) / num,
    inverse_negative_penalty=num / ranks[starts + num - 1],
  )
