"""The section on the attributes of ToyPEDES that the model gets wrong."""

import pathlib

import numpy as np

from tireid_jax import metrics
from tireid_jax.data.datasets import toy
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy import truth
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.evaluation import attribute_agreement
from tireid_jax.evaluation.similarities import Similarities
from tireid_jax.reporting import page, sections

HEADING = "Failures by attribute"
# Next to the prepared data, where the demo writes the raw data set.
RAW = "raw"
# A value that fewer captions mention is not listed, and how many values are.
_MIN_CAPTIONS = 5
_NUM_VALUES = 15
_NUM_INSTEAD = 3


def attributes_section(
  split: Split, scores: metrics.QueryScores, found: Similarities, *, raw: str, data_dir: str
) -> sections.Section | None:
  """Returns the section; a line if the true attributes are unknown, and None for another data set than ToyPEDES.

  Args:
    split: of the captions.
    scores: of text to image.
    found: of the captions.
    raw: folder of the raw data set; "" for RAW next to `data_dir`, if it is there.
    data_dir: folder of prepared data sets.

  Raises:
    MissingFileError: `raw` is no folder of ToyPEDES.
    UserError: `raw` is damaged, or has other captions.
  """
  if split.name != toy.PEDES.name:
    return None
  try:
    folder = truth.find_folder(raw or pathlib.Path(data_dir).parent / RAW)
    known = truth.read(folder, split.captions, [split.file_paths[image] for image in split.caption_image])
  except UserError as error:
    if raw:
      raise
    why = "The true attributes are in the raw data set; give its folder, to which data.toy wrote, as --raw=RAW."
    if not isinstance(error, MissingFileError):
      why = f"The true attributes are unknown: {error}."
    return sections.Section(HEADING, why)
  is_right = scores.first_rank == 1
  # Every image of a person has the same attributes, so it does not matter which right image is first.
  first = np.where(is_right, scores.query_ids, split.person_id[found.hardest_index])
  persons = [known.persons[int(number)] for number in first]
  gallery = [known.persons[int(number)] for number in split.person_id]
  arguments = (known.mentioned, persons, gallery, is_right)
  by_name = sorted(attribute_agreement.agreements(*arguments), key=lambda row: row.above_chance)
  by_value = attribute_agreement.agreements(*arguments, by_value=True)
  often = [row for row in by_value if row.num_captions >= _MIN_CAPTIONS and row.instead]
  worst = sorted(often, key=lambda row: (row.agrees, -row.num_captions))[:_NUM_VALUES]
  bars = [page.Bar(row.name, max(0.0, row.above_chance), f"{row.above_chance:.0f}%") for row in by_name]
  hint = (
    "Whether the person in the first image has an attribute as the caption gives it. 0% is what a random image of the "
    "gallery reaches, 100% is always; captions give some values wrongly on purpose."
  )
  parts = [
    sections.Bars("Agreement above chance", bars),
    sections.Rows("By attribute", sections.table([_row(row) for row in by_name]), _TABLE_HINT),
    sections.Rows("Values that the first image has least often", sections.table([_value_row(row) for row in worst])),
  ]
  return sections.Section(HEADING, hint, [part for part in parts if getattr(part, "table", True)])


_TABLE_HINT = (
  "Over the captions that mention the attribute: R@1, and how often the first image agrees, in percent. R@1 without it "
  "is that of the other captions."
)


def _row(row):
  return {
    "attribute": row.name,
    "captions": row.num_captions,
    "R@1": row.recall_at_1,
    "R@1 without it": "-" if np.isnan(row.recall_without) else row.recall_without,
    "agrees": row.agrees,
    "by chance": row.by_chance,
  }


def _value_row(row):
  instead = ", ".join(f"{value} ({count})" for value, count in row.instead[:_NUM_INSTEAD])
  return {
    "value": f"{row.name}: {row.value}",
    "captions": row.num_captions,
    "agrees": row.agrees,
    "by chance": row.by_chance,
    "found instead": instead,
  }
