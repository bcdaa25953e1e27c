"""Sections on pairs of captions and images: which identities are confused, and how similar pairs are."""

from collections.abc import Mapping, Sequence

import numpy as np

from tireid_jax.data.prepared.splits import Split
from tireid_jax.evaluation import confusions
from tireid_jax.evaluation.confusions import Confusion
from tireid_jax.evaluation.similarities import NUM_BINS, Similarities
from tireid_jax.reporting import sections

# Pictures of each identity of a pair.
_NUM_PICTURES = 3
# Bins that hold less than this fraction of their pairs at either end are outside the chart.
_TAIL = 1e-4


def confused_section(
  confused: Sequence[Confusion], split: Split, num_wrong: int, persons: Mapping[int, str]
) -> sections.Section:
  """Returns the section on the most confused identities.

  Args:
    confused: of `confusions.most_confused`.
    split: of the images.
    num_wrong: captions whose first image is wrong.
    persons: annotated name of an identity, where it has one.
  """
  heading = "Most confused identities"
  if not confused:
    if num_wrong:
      return sections.Section(heading, "Every wrong first image is a distractor without an identity.")
    return sections.Section(heading, "Every caption ranks an image of its person first.")
  hint = (
    f"{_ranking(num_wrong, len(split.captions))} an image of another person first. These are the pairs of identities "
    f"with the most such captions."
  )
  return sections.Section(heading, hint, [_pair(confusion, split, persons) for confusion in confused])


def _pair(confusion, split, persons):
  names = [persons.get(number, str(number)) for number in confusion.person_ids]
  lines = []
  for this, other, total, count in zip(names, names[::-1], confusion.num_queries, confusion.num_confused, strict=True):
    if count:
      lines.append(f"{_ranking(count, total, f' of identity {this}')} an image of identity {other} first.")
  lines.append(f"For example: “{split.captions[confusion.example]}”")
  groups = zip(
    (f"identity {name}" for name in names), confusions.pictures(confusion, split, _NUM_PICTURES), strict=True
  )
  return sections.Pair(f"{names[0]} and {names[1]}", lines, list(groups))


def _ranking(count, total, whose=""):
  """Returns the beginning of a sentence on what some captions rank first."""
  return f"{count:,} of {total:,} caption{'s' * (total != 1)}{whose} rank{'s' * (count == 1)}"


def similarity_section(found: Similarities) -> sections.Section:
  """Returns the section on the similarities of positives and negatives."""
  hardest = found.histogram(found.hardest_negative)
  best = found.histogram(found.best_positive)
  counts = {
    "same identity": found.positive,
    "other identities": found.negative,
    "most similar image of another identity": hardest,
  }
  counts = {name: values for name, values in counts.items() if values.sum()}
  fractions = {name: 100 * values / values.sum() for name, values in counts.items()}
  shown = np.flatnonzero(sum(values > 100 * _TAIL for values in fractions.values()))
  first, last = max(0, shown[0] - 1), min(NUM_BINS - 1, shown[-1] + 1)
  centers = (found.edges[:-1] + found.edges[1:]) / 2
  lines = {
    name: [(round(float(centers[i]), 4), float(values[i])) for i in range(first, last + 1)]
    for name, values in fractions.items()
  }
  charts = sections.line_charts(
    "Percent of pairs by cosine similarity", lines, label="Similarities of captions and images", unit="%",
    x_name="cos", x_range=(float(found.edges[first]), float(found.edges[last + 1])), is_filled=True,
  )  # fmt: skip
  rows = [
    {
      "": name,
      "pairs": int(values.sum()),
      **{f"{percent}%": f"{_percentile(values, found.edges, percent):.2f}" for percent in (5, 25, 50, 75, 95)},
    }
    for name, values in {**counts, "most similar image of the same identity": best}.items()
  ]
  margin = found.best_positive - found.hardest_negative
  is_finite = np.isfinite(margin)
  ahead = 100 * float(np.mean(margin[is_finite] > 0)) if is_finite.any() else 100.0
  hint = (
    f"Cosine similarities of captions and images. For {ahead:.1f}% of captions, the most similar image of the person "
    f"is ahead of the most similar image of anybody else."
  )
  table = sections.Rows("Percentiles", sections.table(rows))
  return sections.Section("Similarities", hint, [sections.Charts(charts), table])


def _percentile(counts, edges, percent):
  """Returns the similarity below which a percentage of counted pairs lies, to the width of a bin."""
  return float(edges[1 + np.searchsorted(np.cumsum(counts), percent / 100 * counts.sum())])
