"""Which identities a model confuses: pairs of persons, one of whom is ranked first for captions of the other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from tireid_jax import metrics


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
  """Two identities, in the order of how many captions of each rank an image of the other first.

  Attributes:
    person_ids: both identities.
    num_queries: captions of each.
    num_confused: of those, how many rank an image of the other identity first.
    example: a caption of the first identity that does.
    found: the image of the other identity that it ranks first.
  """

  person_ids: tuple[int, int]
  num_queries: tuple[int, int]
  num_confused: tuple[int, int]
  example: int
  found: int


def most_confused(
  scores: metrics.QueryScores,
  hardest_index: Int[np.ndarray, " N"],
  gallery_ids: Int[np.ndarray, " G"],
  num: int,
) -> list[Confusion]:
  """Returns the pairs of identities with the most confused captions, in descending order.

  Ties are broken by the fraction of both identities' captions, then by the identities. A first image without an
  identity (-1) makes no pair.

  Args:
    scores: of text to image.
    hardest_index: of `similarities`; where a query's first image is wrong, it is this one.
    gallery_ids: identity of each image.
    num: how many pairs to return at most.
  """
  found = gallery_ids[hardest_index]
  queries = np.flatnonzero((scores.first_rank > 1) & (found >= 0))
  if not queries.size:
    return []
  directed = np.stack([scores.query_ids[queries], found[queries]], axis=1)
  pairs, first, counts = np.unique(directed, axis=0, return_index=True, return_counts=True)
  count_of = {(int(a), int(b)): int(count) for (a, b), count in zip(pairs, counts, strict=True)}
  example_of = {(int(a), int(b)): int(queries[index]) for (a, b), index in zip(pairs, first, strict=True)}
  ids, totals = np.unique(scores.query_ids, return_counts=True)
  total_of = dict(zip(ids.tolist(), totals.tolist(), strict=True))
  confusions = []
  for a, b in {(min(pair), max(pair)) for pair in count_of}:
    pair = (a, b) if count_of.get((a, b), 0) >= count_of.get((b, a), 0) else (b, a)
    confusions.append(
      Confusion(
        person_ids=pair,
        num_queries=(total_of.get(pair[0], 0), total_of.get(pair[1], 0)),
        num_confused=(count_of.get(pair, 0), count_of.get(pair[::-1], 0)),
        example=example_of[pair],
        found=int(hardest_index[example_of[pair]]),
      )
    )
  return sorted(confusions, key=_order)[:num]


def _order(confusion):
  confused = sum(confusion.num_confused)
  return -confused, -confused / sum(confusion.num_queries), confusion.person_ids


def pictures(confusion: Confusion, split: Any, num: int) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
  """Returns up to `num` images u8[h, w, 3] of each identity.

  The first ones are the image that the example caption describes, and the image that it ranks first.

  Args:
    confusion: Confusion.
    split: with `images`, `person_id` and `caption_image`, as data.prepared.Split.
    num: images of each identity, at least 1.
  """
  groups = []
  for person, shown in zip(
    confusion.person_ids, (split.caption_image[confusion.example], confusion.found), strict=True
  ):
    own = np.flatnonzero(split.person_id == person)
    groups.append(list(split.images[np.array([shown, *own[own != shown][: num - 1]])]))
  return groups[0], groups[1]
