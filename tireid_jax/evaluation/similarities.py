"""Similarities of captions to images of their person and of others, in blocks: the matrix is never in memory."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from tireid_jax import ranking
from tireid_jax.terminal.progress import bar

NUM_BINS = 200
# Queries whose masks are in memory at a time: 64 against a gallery of 80,000 take 5 MB, and each copy of their
# similarities 20 MB.
_CHUNK_QUERIES = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Similarities:
  """Cosine similarities of all pairs of a query and a gallery image.

  Attributes:
    edges: of the bins, from -1 to 1.
    positive: number of pairs of one identity in each bin.
    negative: number of pairs of different identities in each bin.
    best_positive: of each query to the most similar image of its identity; -inf if there is none.
    hardest_negative: of each query to the most similar image of another identity; -inf if there is none.
    hardest_index: that image, the first of equals; 0 if there is none.
  """

  edges: Float[np.ndarray, " bins_and_1"]
  positive: Int[np.ndarray, " bins"]
  negative: Int[np.ndarray, " bins"]
  best_positive: Float[np.ndarray, " N"]
  hardest_negative: Float[np.ndarray, " N"]
  hardest_index: Int[np.ndarray, " N"]

  def histogram(self, values: Float[np.ndarray, " N"]) -> Int[np.ndarray, " bins"]:
    """Returns how many of some similarities are in each bin, such as `hardest_negative`; infinite ones are left out."""
    return np.bincount(_bins(values[np.isfinite(values)]), minlength=NUM_BINS)


def similarities(
  query_embeddings: Float[np.ndarray, "N E"],
  gallery_embeddings: Float[np.ndarray, "G E"],
  query_ids: Int[np.ndarray, " N"],
  gallery_ids: Int[np.ndarray, " G"],
  *,
  show_progress: bool = False,
) -> Similarities:
  """Returns the Similarities of queries to a gallery.

  Args:
    query_embeddings, gallery_embeddings: need not be normalised.
    query_ids: identity of each query.
    gallery_ids: identity of each image.
    show_progress: whether to show a progress bar.

  Raises:
    UserError: an embedding is not finite.
  """
  num = len(query_embeddings)
  positive, both = np.zeros(NUM_BINS, np.int64), np.zeros(NUM_BINS, np.int64)
  best, hardest, index = (np.empty(num, kind) for kind in (np.float32, np.float32, np.int64))
  with bar(total=num, desc="comparing captions", unit="caption", disable=not show_progress) as progress:
    for block, similarity in ranking.prefetch(ranking.cosine_blocks(query_embeddings, gallery_embeddings)):
      for start in range(0, len(similarity), _CHUNK_QUERIES):
        chunk = slice(block.start + start, min(block.start + start + _CHUNK_QUERIES, block.stop))
        values = similarity[start : start + _CHUNK_QUERIES]  # [chunk, G]
        is_positive = query_ids[chunk, None] == gallery_ids
        both += np.bincount(_bins(values).ravel(), minlength=NUM_BINS)
        positive += np.bincount(_bins(values[is_positive]), minlength=NUM_BINS)
        best[chunk] = np.where(is_positive, values, -np.inf).max(axis=1)
        negatives = np.where(is_positive, -np.inf, values)
        index[chunk] = negatives.argmax(axis=1)
        hardest[chunk] = negatives.max(axis=1)
        progress.update(len(values))
  return Similarities(np.linspace(-1, 1, NUM_BINS + 1), positive, both - positive, best, hardest, index)


def _bins(values):
  return np.clip((values + 1) * (NUM_BINS / 2), 0, NUM_BINS - 1).astype(np.int32)
