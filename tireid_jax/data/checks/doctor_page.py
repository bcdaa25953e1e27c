"""The report on a data set as one HTML file with pictures, which loads nothing from elsewhere."""

import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from tireid_jax.data.checks import doctor
from tireid_jax.data.permutation import permutation
from tireid_jax.data.prepared import images
from tireid_jax.data.raw import annotations, problems, schema
from tireid_jax.reporting import page

_TEMPLATE = pathlib.Path(__file__).with_suffix(".html")

_THUMBNAIL = (120, 200)  # pixels (w, h), the largest size of a picture
NUM_SAMPLES = 6  # of each split


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A thumbnail u8[h, w, 3] under a heading, a kind of problem or a split, with lines of text."""

  heading: str
  image: np.ndarray
  lines: tuple[str, ...]


def take_pictures(
  report: doctor.Report, records: Sequence[schema.ImageRecord], images_dir: pathlib.Path
) -> list[Picture]:
  """Returns Pictures of the first images with each kind of problem, if they can be opened, and of each split.

  Args:
    report: Report.
    records: the ImageRecords of the data set.
    images_dir: folder that problems' paths are relative to.
  """
  pictures = []
  for kind, group in problems.by_kind(report.problems).items():
    for problem in group[: problems.NUM_NAMED]:
      is_inside = bool(annotations.path_of({"path": problem.place}, "path", "", []))
      image = _thumbnail(pathlib.Path(images_dir) / problem.place) if is_inside else None
      if image is not None:
        pictures.append(Picture(kind, image, (str(problem),)))
  for split in report.counts:
    of_split = [record for record in records if record.split == split]
    for number in permutation(len(of_split), 0)[:NUM_SAMPLES]:
      record = of_split[number]
      image = _thumbnail(record.image_file)
      if image is not None:
        about = [
          "no identity" if record.person_id == schema.NO_PERSON else f"identity {record.person or record.person_id}",
          record.is_distractor and "distractor",
          record.camera and f"camera {record.camera}",
          record.time,
        ]
        lines = (record.file_path, ", ".join(filter(None, about)), *record.captions)
        pictures.append(Picture(split, image, lines))
  return pictures


def write_html(path: str | pathlib.Path, report: doctor.Report, pictures: Sequence[Picture] = ()) -> None:
  """Writes the report; a reader sees the whole file or none.

  Args:
    path: HTML file.
    report: Report.
    pictures: Pictures, as from `take_pictures`.
  """
  size = [f"{report.num_bytes / 2**20:,.1f} MiB on disk"] if report.num_bytes else []
  summary = problems.summary(report.problems)
  grouped: dict[str, list[Picture]] = {}
  for picture in pictures:
    grouped.setdefault(picture.heading, []).append(picture)
  page.write_page(
    path,
    _TEMPLATE,
    title=f"{report.name}: {report.verdict}",
    notes=[*report.notes, *size],
    counts=[{name: page.Cell(text, _mark(row, name)) for name, text in row.items()} for row in report.count_table()],
    problems=[
      (heading, css, [(kind, found) for kind, found in summary.items() if found["is_error"] == is_error])
      for heading, css, is_error in (("Errors, which cannot be used", "error", True), ("Remarks", "remark", False))
    ],
    histograms=[
      ("Captions", report.captions_line, _bars(report.caption_lengths, "tokens")),
      ("Images", report.images_line, _bars(report.image_heights, "pixels high")),
    ],
    splits=schema.SPLITS,
    pictures=grouped,
  )


def _mark(row, name):
  """Returns the CSS class that marks a count which differs from the published one."""
  return "differs" if row.get(f"{name} published", row[name]) != row[name] else ""


def _bars(histogram, unit):
  most = max(histogram.values(), default=1)
  return [page.Bar(f"{name} {unit}", 100 * count / most, f"{count:,}") for name, count in histogram.items()]


def _thumbnail(file):
  """Returns u8[h, w, 3] of an image file at its aspect ratio, or None if it cannot be opened."""
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", module="PIL")
      warnings.simplefilter("error", Image.DecompressionBombWarning)
      with Image.open(file, formats=images.FORMATS) as image:
        if image.width * image.height > images.MAX_PIXELS and not images.can_reduce(image):
          return None
        image.draft("RGB", _THUMBNAIL)
        small = image.convert("RGB")
      with contextlib.suppress(Exception):  # EXIF data may be damaged although the pixels are intact
        small = ImageOps.exif_transpose(small)
      small.thumbnail(_THUMBNAIL)
  except Exception:  # for damaged files, PIL's readers raise errors of any type
    return None
  return np.asarray(small)
