"""The report on a raw data set: its contents, compared with the published ones, and its problems."""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from tireid_jax.data.checks import whole_set
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import splits
from tireid_jax.data.raw import problems, schema
from tireid_jax.data.raw.problems import Problem, number_of
from tireid_jax.data.tokenizer import MAX_LENGTH
from tireid_jax.errors import UserError

# Upper ends of the bins of the histograms; the last bin is open.
_TOKEN_BINS = (10, 20, 30, 40, 50, 60, 70, MAX_LENGTH, 100)
_HEIGHT_BINS = (32, 64, 128, 192, 256, 384, 512, 1024)

_QUANTILES = {"least": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "most": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
  """The result of `examine`.

  Attributes:
    name: of the data set, as published.
    counts: {split: Counts} of usable images and captions.
    distractors: {split: number of images without captions}, without splits that have none.
    published: {split: Counts} as published; empty if not published.
    problems: every Problem.
    notes: sentences on the data set as a whole.
    caption_lengths: {"21-30": number of captions of that many tokens}, before truncation.
    num_cut: number of captions that are truncated to MAX_LENGTH tokens.
    image_heights: {"129-192": number of images of such heights in pixels}.
    image_sizes: {"height": {"least", "5%", "median", "95%", "most"}, "width": likewise}, in pixels.
    num_bytes: size of the prepared data set on disk; 0 if unknown.
  """

  name: str
  counts: dict[str, schema.Counts]
  distractors: dict[str, int]
  published: dict[str, schema.Counts]
  problems: list[Problem]
  notes: list[str]
  caption_lengths: dict[str, int]
  num_cut: int
  image_heights: dict[str, int]
  image_sizes: dict[str, dict[str, int]]
  num_bytes: int

  @property
  def num_errors(self) -> int:
    """Number of problems that are errors."""
    return sum(problem.is_error for problem in self.problems)

  @property
  def verdict(self) -> str:
    """The numbers of errors and remarks, in words."""
    remarks = len(self.problems) - self.num_errors
    return f"{number_of(self.num_errors, 'error')}, {number_of(remarks, 'remark')}"

  @property
  def captions_line(self) -> str:
    """A line with the number of captions and how many are truncated; "" without captions."""
    num_captions = sum(self.caption_lengths.values())
    if not num_captions:
      return ""
    percent = 100 * self.num_cut / num_captions
    return (
      f"{number_of(num_captions, 'caption')}, of which {self.num_cut:,} ({percent:.2f}%) are cut at {MAX_LENGTH} tokens"
    )

  @property
  def images_line(self) -> str:
    """A line with the range of image sizes; "" without images."""
    return "; ".join(
      f"{side} {sizes['least']} to {sizes['most']} pixels, median {sizes['median']}, 90% from {sizes['5%']} to "
      f"{sizes['95%']}"
      for side, sizes in self.image_sizes.items()
    )

  def count_table(self) -> list[dict[str, str]]:
    """Returns a dict per split for a table: "split", and "ids", "images", "captions", each with the published one.

    There is a column "distractors" if any split has distractors.
    """
    rows = []
    for split in schema.SPLITS:
      counts, published = self.counts.get(split), self.published.get(split)
      if counts or published:
        row = {"split": split}
        for name in schema.Counts._fields:
          row[name] = f"{getattr(counts, name):,}" if counts else "missing"
          if self.published:
            row[f"{name} published"] = f"{getattr(published, name):,}" if published else "-"
        if self.distractors:
          row["distractors"] = f"{self.distractors.get(split, 0):,}"
        rows.append(row)
    return rows

  def text(self) -> str:
    """Returns the report as lines for a terminal."""
    lines = [f"{self.name}: {self.verdict}", *_table(self.count_table()), *self.notes]
    for title, is_error in (("errors, which cannot be used", True), ("remarks", False)):
      kinds = {kind: found for kind, found in problems.summary(self.problems).items() if found["is_error"] == is_error}
      lines += ["", f"{title}:"] if kinds else []
      for kind, found in kinds.items():
        more = found["count"] - len(found["first"])
        lines.append(f"{found['count']:>8,}  {kind}: {found['meaning']}")
        lines += [f"{'':10}{line}" for line in [*found["first"], *([f"and {more:,} more"] if more else [])]]
    for line, histogram, unit in (
      (self.captions_line, self.caption_lengths, "tokens"),
      (self.images_line, self.image_heights, "high"),
    ):
      lines += ["", line, *_bars(histogram, unit)] if line else []
    if self.num_bytes:
      lines += ["", f"{self.num_bytes / 2**20:,.1f} MiB on disk"]
    return "\n".join(lines)

  def to_json(self) -> dict[str, Any]:
    """Returns the report as JSON data, with the count and the first problems of each kind."""
    data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    for name in ("counts", "published"):
      data[name] = {split: counts._asdict() for split, counts in data[name].items()}
    return data | {"problems": problems.summary(self.problems), "num_errors": self.num_errors}


def examine(
  layout: schema.Layout,
  records: Sequence[schema.ImageRecord],
  found: Sequence[Problem],
  *,
  caption_lengths: Sequence[int] | np.ndarray = (),
  image_sizes: Sequence[tuple[int, int]] = (),
  image_digests: Sequence[str] = (),
  num_bytes: int = 0,
  sibling: str = "",
) -> Report:
  """Returns the Report of a raw data set.

  Args:
    layout: its Layout.
    records: the usable ImageRecords.
    found: Problems of its annotations and images; the report adds those of the data set as a whole.
    caption_lengths: i32[num_captions] numbers of tokens of all captions in order, before truncation; empty if unknown.
    image_sizes: (h, w) in pixels of each record's image, (0, 0) if unknown; or empty.
    image_digests: digest of each record's image, "" if unknown; or empty.
    num_bytes: size of the prepared data set on disk; 0 if unknown.
    sibling: as from `prepared_sibling`.
  """
  lengths = np.asarray(caption_lengths, np.int64)
  sizes = np.asarray(image_sizes, np.int64).reshape(-1, 2)
  counts = schema.count(records)
  return Report(
    name=layout.folder,
    counts=counts,
    distractors=schema.count_distractors(records),
    published=layout.published,
    problems=[
      *found,
      *whole_set.image_problems(records, sizes, image_digests),
      *whole_set.identity_problems(records),
      *whole_set.caption_problems(records, lengths),
    ],
    notes=_notes(layout, records, counts, sibling),
    caption_lengths=_histogram(lengths, _TOKEN_BINS),
    num_cut=int((lengths > MAX_LENGTH).sum()),
    image_heights=_histogram(sizes[sizes[:, 0] > 0, 0], _HEIGHT_BINS),
    image_sizes=_quantiles(sizes[sizes[:, 0] > 0]),
    num_bytes=num_bytes,
  )


def prepared_sibling(data_dir: str | pathlib.Path, name: str) -> str:
  """Returns a data set with the same source of images as `name` that is prepared in `data_dir`, or ""."""
  others = registry.same_source(name)
  prepared_files = f"*/{schema.VERSION}/{splits.INFO_FILE}"
  return next((other for other in others if any((splits.local_dir(data_dir) / other).glob(prepared_files))), "")


def check_space(folder: pathlib.Path, num_bytes: int) -> None:
  """Raises ValueError if the disk of `folder`, which may not exist yet, has less than `num_bytes` free."""
  folder = pathlib.Path(folder).absolute()
  there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
  free = shutil.disk_usage(there).free
  if free < num_bytes:
    raise UserError(
      f"preparing takes {num_bytes / 2**30:,.2f} GiB, but the disk of {there} has {free / 2**30:,.2f} GiB; make room, "
      f"or give another --config.data_dir"
    )


def _notes(layout, records, counts, sibling):
  """Returns sentences on the data set as a whole."""
  notes = [
    f"{split} has counts that differ from the published ones"
    for split in counts
    if layout.published and counts[split] != layout.published.get(split)
  ]
  notes += [f"{split} is missing" for split in layout.published if split not in counts]
  first_id = min((record.person_id for record in records), default=layout.first_id)
  if layout.published and first_id != layout.first_id:
    notes.append(f"the smallest id is {first_id}, in the published file it is {layout.first_id}")
  if sibling:
    both = " and ".join(sorted((layout.folder, registry.layout_of(sibling).folder)))
    notes.append(
      f"{both} both take their images from {layout.source}, and both are prepared here: training on one and testing "
      f"on the other is no test on unseen cameras, and perhaps not on unseen persons"
    )
  return notes


def _histogram(values, ends):
  """Returns {"11-20": count} for bins that end at `ends` and an open one, without empty bins at both ends."""
  if not len(values):
    return {}
  names = [f"{start + 1}-{end}" for start, end in zip((0, *ends), ends, strict=False)] + [f"over {ends[-1]}"]
  counts = np.bincount(np.searchsorted(ends, values), minlength=len(names))
  used = np.flatnonzero(counts)
  return {names[bin]: int(counts[bin]) for bin in range(used[0], used[-1] + 1)}


def _quantiles(sizes):
  if not len(sizes):
    return {}
  return {
    side: {name: int(np.quantile(sizes[:, axis], fraction, method="nearest")) for name, fraction in _QUANTILES.items()}
    for axis, side in enumerate(("height", "width"))
  }


def _table(rows):
  """Returns lines of a table, the first column aligned left and the others right; none without rows."""
  if not rows:
    return []
  widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
  lines = [{name: name for name in rows[0]}, *rows]
  return ["  ".join(row[n].ljust(w) if n == "split" else row[n].rjust(w) for n, w in widths.items()) for row in lines]


def _bars(histogram, unit):
  most = max(histogram.values(), default=1)
  return [
    f"{name:>10} {unit}{count:>10,}  {'#' * round(40 * count / most)}".rstrip() for name, count in histogram.items()
  ]
