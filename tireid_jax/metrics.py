"""Retrieval figures: Rank-k, mean average precision, mean inverse negative penalty; exact, ties by lowest index."""

import dataclasses

import numpy as np

RANKS = (1, 5, 10)
# Rows of similarity held at a time: 256 against ICFG's gallery of 19,848 take 20 MB.
BLOCK_ROWS = 256


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

  def summary(self):
    """Returns {"R@1", "R@5", "R@10", "mAP", "mINP"}, percent."""
    figures = {f"R@{k}": self.first_rank <= k for k in RANKS}
    figures |= {"mAP": self.average_precision, "mINP": self.inverse_negative_penalty}
    return {name: 100.0 * float(np.mean(values)) for name, values in figures.items()}

  def to_arrays(self, prefix):
    """Returns {prefix_field: array}, for an npz file."""
    return {f"{prefix}_{field.name}": getattr(self, field.name) for field in dataclasses.fields(self)}

  @classmethod
  def from_arrays(cls, arrays, prefix):
    """Returns the scores that `to_arrays` wrote."""
    return cls(**{field.name: np.asarray(arrays[f"{prefix}_{field.name}"]) for field in dataclasses.fields(cls)})


def rank_metrics(similarity, query_ids, gallery_ids):
  """Returns {"R@1", "R@5", "R@10", "mAP", "mINP"}, percent, of f[N, G] similarities; larger is nearer."""
  similarity = np.asarray(similarity)
  return _scores(lambda rows: similarity[rows], query_ids, gallery_ids).summary()


def retrieval_metrics(query_embeddings, gallery_embeddings, query_ids, gallery_ids):
  """Returns what `rank_metrics` does for the cosine similarity of f[N, E] and f[G, E], never held whole."""
  return query_scores(query_embeddings, gallery_embeddings, query_ids, gallery_ids).summary()


def query_scores(query_embeddings, gallery_embeddings, query_ids, gallery_ids):
  """Returns the QueryScores of f[N, E] queries in a gallery f[G, E], by cosine similarity."""
  query, gallery = _normalised(query_embeddings, "query"), _normalised(gallery_embeddings, "gallery")
  return _scores(lambda rows: query[rows] @ gallery.T, query_ids, gallery_ids)


def top_gallery(query_embeddings, gallery_embeddings, k):
  """Returns (indices i64[N, k], similarities f32[N, k]) of the nearest of the gallery, best first."""
  query, gallery = _normalised(query_embeddings, "query"), _normalised(gallery_embeddings, "gallery")
  k = min(k, len(gallery))
  indices, values = np.empty((len(query), k), np.int64), np.empty((len(query), k), np.float32)
  for start in range(0, len(query), BLOCK_ROWS):
    rows = slice(start, start + BLOCK_ROWS)
    similarity = query[rows] @ gallery.T
    indices[rows] = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    values[rows] = np.take_along_axis(similarity, indices[rows], axis=1)
  return indices, values


def _normalised(embeddings, side):
  embeddings = np.asarray(embeddings, np.float32)
  if not np.isfinite(embeddings).all():
    raise ValueError(f"the {side} embeddings hold values that are not finite; the model that made them has diverged")
  return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def _scores(similarity_rows, query_ids, gallery_ids):
  """Returns the QueryScores; `similarity_rows(slice)` gives f[rows, G]."""
  query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
  lacking = np.flatnonzero(~np.isin(query_ids, gallery_ids))
  if lacking.size:
    named = ", ".join(f"query {i} (id {query_ids[i]})" for i in lacking[:3])
    raise ValueError(f"{lacking.size} queries have no image of their identity in the gallery: {named}")
  order = np.argsort(gallery_ids, kind="stable")
  bounds = [np.searchsorted(gallery_ids[order], query_ids, side) for side in ("left", "right")]
  first, precision, penalty = np.empty(len(query_ids), np.int64), *np.empty((2, len(query_ids)))
  for start in range(0, len(query_ids), BLOCK_ROWS):
    for offset, row in enumerate(similarity_rows(slice(start, start + BLOCK_ROWS))):
      query = start + offset
      ranks = _positive_ranks(row, order[bounds[0][query] : bounds[1][query]])
      first[query] = ranks[0]
      precision[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
      penalty[query] = len(ranks) / ranks[-1]
  return QueryScores(query_ids, first, precision, penalty)


def _positive_ranks(row, positives):
  """Returns the ranks, ascending from 1, of the gallery indices `positives` (ascending) in a row of similarities."""
  ascending = np.sort(row)
  values = row[positives]
  not_above = np.searchsorted(ascending, values, "right")
  ranks = len(row) - not_above + 1
  num_equal = not_above - np.searchsorted(ascending, values, "left")
  for i in np.flatnonzero(num_equal > 1):
    ranks[i] += np.count_nonzero(row[: positives[i]] == values[i])
  return np.sort(ranks)
