"""Ranks each query in a fixed part of the gallery, so that results do not depend on the size of the test split."""

import numpy as np

from tireid_jax import metrics
from tireid_jax.data.permutation import permutation
from tireid_jax.metrics import QueryScores

# The division into galleries is the same for all runs.
_SEED = 0


def groups(person_id: np.ndarray, num_persons: int) -> list[np.ndarray]:
  """Returns the identities of each gallery: all of them, divided at random into parts of about `num_persons`.

  Args:
    person_id: i32[G] of the gallery.
    num_persons: of a gallery, at least 1; the parts differ by at most one person.
  """
  identities = np.unique(person_id)
  shuffled = identities[permutation(len(identities), _SEED)]
  return np.array_split(shuffled, max(1, round(len(identities) / num_persons)))


def query_scores(
  query: np.ndarray, gallery: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray, num_persons: int
) -> QueryScores:
  """Returns the scores of queries in the order given, each ranked among the persons of its own group.

  Args:
    query: f32[N, E] embeddings.
    gallery: f32[G, E] embeddings.
    query_ids, gallery_ids: identities.
    num_persons: of a gallery.
  """
  parts, order = [], []
  for identities in groups(gallery_ids, num_persons):
    own = np.flatnonzero(np.isin(query_ids, identities))
    if not len(own):
      continue
    shown = np.flatnonzero(np.isin(gallery_ids, identities))
    parts.append(metrics.query_scores(query[own], gallery[shown], query_ids[own], gallery_ids[shown]))
    order.append(own)
  back = np.argsort(np.concatenate(order))
  return QueryScores(*(np.concatenate([vars(part)[name] for part in parts])[back] for name in vars(parts[0])))
