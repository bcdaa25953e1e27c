"""How often the person ranked first has an attribute as the caption gives it, by attribute and by value."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

# Value of an attribute that a person lacks.
ABSENT = "none"

Attributes = Mapping[str, str]  # value by name


@dataclasses.dataclass(frozen=True)
class Agreement:
  """An attribute, or one of its values, over the captions that mention it.

  Attributes:
    name: of the attribute.
    value: that the captions give; "" for all values.
    num_captions: that mention it.
    recall_at_1: percent of these captions that rank their person first.
    recall_without: percent of the other captions that do; NaN if there are none.
    agrees: percent of these captions whose first image shows a person with the mentioned value.
    by_chance: percent for a random image of the gallery.
    instead: (value, number of captions) of the persons found that disagree, the most frequent first.
  """

  name: str
  value: str
  num_captions: int
  recall_at_1: float
  recall_without: float
  agrees: float
  by_chance: float
  instead: tuple[tuple[str, int], ...]

  @property
  def above_chance(self) -> float:
    """0 if the first image agrees as often as a random one, 100 if it always does; negative if less often."""
    return 100 * (self.agrees - self.by_chance) / (100 - self.by_chance) if self.by_chance < 100 else 100.0


def agreements(
  mentioned: Sequence[Attributes],
  found: Sequence[Attributes],
  gallery: Sequence[Attributes],
  is_right: Bool[np.ndarray, " N"],
  *,
  by_value: bool = False,
) -> list[Agreement]:
  """Returns an Agreement for each attribute, or for each value of each attribute, in alphabetical order.

  Args:
    mentioned: attributes that each caption mentions.
    found: attributes of the person that each caption ranks first.
    gallery: attributes of the person of each gallery image.
    is_right: whether that person is the described one.
    by_value: whether to report each value by itself.
  """
  queries: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
  for query, attributes in enumerate(mentioned):
    for name, value in attributes.items():
      queries[name, value if by_value else ""].append(query)
  counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
  for name in {name for name, _ in queries}:
    counts[name].update(person.get(name, ABSENT) for person in gallery)
  return [
    _agreement(name, value, np.array(own), mentioned, found, counts[name], len(gallery), is_right)
    for (name, value), own in sorted(queries.items())
  ]


def _agreement(
  name: str,
  value: str,
  queries: Int[np.ndarray, " n"],
  mentioned: Sequence[Attributes],
  found: Sequence[Attributes],
  gallery_counts: Mapping[str, int],
  num_gallery: int,
  is_right: Bool[np.ndarray, " N"],
) -> Agreement:
  wanted = [mentioned[query][name] for query in queries]
  got = [found[query].get(name, ABSENT) for query in queries]
  wrong = collections.Counter(other for target, other in zip(wanted, got, strict=True) if other != target)
  others = np.delete(is_right, queries)
  return Agreement(
    name=name,
    value=value,
    num_captions=len(queries),
    recall_at_1=100 * float(np.mean(is_right[queries])),
    recall_without=100 * float(np.mean(others)) if len(others) else float("nan"),
    agrees=100 * (1 - wrong.total() / len(queries)),
    by_chance=100 * float(np.mean([gallery_counts.get(target, 0) for target in wanted])) / num_gallery,
    instead=tuple(wrong.most_common()),
  )
