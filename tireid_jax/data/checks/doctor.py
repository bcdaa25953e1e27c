"""The doctor's report: what a raw data set holds, beside what was published, and what is wrong with it."""

import dataclasses
import pathlib
import shutil

import numpy as np

from tireid_jax.data.checks import whole_set
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import splits
from tireid_jax.data.raw import problems, schema
from tireid_jax.data.raw.problems import Problem, number_of
from tireid_jax.data.tokenizer import MAX_LENGTH
from tireid_jax.errors import UserError

# Upper ends of the histograms' bins; the last bin has none.
_TOKEN_BINS = (10, 20, 30, 40, 50, 60, 70, MAX_LENGTH, 100)
_HEIGHT_BINS = (32, 64, 128, 192, 256, 384, 512, 1024)

_QUANTILES = {"least": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "most": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
  """What `examine` found.

  Attributes:
    name: of the data set, for people.
    counts: {split: Counts} of what can be used.
    distractors: {split: images of these without captions}, of splits that have any.
    published: {split: Counts} as published; empty where nothing is.
    problems: every Problem, as `problems.summary` counts them.
    notes: sentences on the whole.
    caption_lengths: {"21-30": captions of so many tokens}, before they are cut.
    num_cut: captions that are cut at MAX_LENGTH.
    image_heights: {"129-192": images of so many pixels}.
    image_sizes: {"height": {"least", "5%", "median", "95%", "most"}, "width": likewise}, pixels.
    num_bytes: on disk; 0 where it is not known.
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
  def num_errors(self):
    """How many problems are errors."""
    return sum(problem.is_error for problem in self.problems)

  @property
  def verdict(self):
    """All problems in a few words."""
    remarks = len(self.problems) - self.num_errors
    return f"{number_of(self.num_errors, 'error')}, {number_of(remarks, 'remark')}"

  @property
  def captions_line(self):
    """How many captions there are and how many are cut, in a line; "" without any."""
    num_captions = sum(self.caption_lengths.values())
    if not num_captions:
      return ""
    share = 100 * self.num_cut / num_captions
    return (
      f"{number_of(num_captions, 'caption')}, of which {self.num_cut:,} ({share:.2f}%) are cut at {MAX_LENGTH} tokens"
    )

  @property
  def images_line(self):
    """The images' sizes in a line; "" without any."""
    return "; ".join(
      f"{side} {sizes['least']} to {sizes['most']} pixels, median {sizes['median']}, 90% from {sizes['5%']} to "
      f"{sizes['95%']}"
      for side, sizes in self.image_sizes.items()
    )

  def count_rows(self):
    """Returns a dict a split for a table: "split", and "ids", "images", "captions" beside the published ones.

    There is a column "distractors" if any split has some.
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

  def text(self):
    """Returns the report as lines for a terminal."""
    lines = [f"{self.name}: {self.verdict}", *_table(self.count_rows()), *self.notes]
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

  def to_json(self):
    """Returns the report as JSON data; of each kind of problem the count and the first ones."""
    data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    for name in ("counts", "published"):
      data[name] = {split: counts._asdict() for split, counts in data[name].items()}
    return data | {"problems": problems.summary(self.problems), "num_errors": self.num_errors}


def examine(layout, records, found, *, caption_lengths=(), image_sizes=(), image_digests=(), num_bytes=0, sibling=""):
  """Returns the Report of a raw data set.

  Args:
    layout: its Layout.
    records: the ImageRecords that can be used.
    found: Problems of its annotations and images; what shows only in all of them together is added in the report.
    caption_lengths: i32[num_captions] tokens of each record's captions in turn, before they are cut; none if not known.
    image_sizes: i32[num_images, 2] (h, w) pixels of each record's image; none, or a row of zeros, if not known.
    image_digests: digest of each record's image; none, or an empty one, if not known.
    num_bytes: that the prepared data set takes on disk; 0 if not known.
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


def prepared_sibling(data_dir, name):
  """Returns the data set drawn from the same source as `name`, if it is prepared in `data_dir`; otherwise ""."""
  others = registry.same_source(name)
  prepared_files = f"*/{schema.VERSION}/{splits.INFO_FILE}"
  return next((other for other in others if any((splits.local_dir(data_dir) / other).glob(prepared_files))), "")


def check_space(folder, num_bytes):
  """Raises ValueError if the disk of `folder`, which need not be there yet, has less than `num_bytes`."""
  folder = pathlib.Path(folder).absolute()
  there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
  free = shutil.disk_usage(there).free
  if free < num_bytes:
    raise UserError(
      f"preparing takes {num_bytes / 2**30:,.2f} GiB, but the disk of {there} has {free / 2**30:,.2f} GiB; make room, "
      f"or give another --config.data_dir"
    )


def _notes(layout, records, counts, sibling):
  """Returns sentences on the whole data set."""
  notes = [
    f"{split} has other counts than the published ones"
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
      f"{both} are both drawn from {layout.source}, and both are prepared here: training on one and testing on the "
      f"other is no test on unseen cameras, and perhaps not on unseen persons"
    )
  return notes


def _histogram(values, ends):
  """Returns {"11-20": count} for bins that end at `ends` and one beyond; outer bins without any are left out."""
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
    side: {name: int(np.quantile(sizes[:, axis], share, method="nearest")) for name, share in _QUANTILES.items()}
    for axis, side in enumerate(("height", "width"))
  }


def _table(rows):
  """Returns lines of a table, the first column left and the others right; none without rows."""
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
