"""The doctor's report as one HTML file with pictures, which loads nothing from elsewhere."""

import base64
import contextlib
import dataclasses
import html
import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from tireid_jax import reporting
from tireid_jax.data.permutation import permutation
from tireid_jax.data.prepared import images
from tireid_jax.data.raw import annotations, problems, schema
from tireid_jax.storage import files

# One look for all reports: the other's style first.
_STYLES = (pathlib.Path(reporting.__file__).with_name("page.css"), pathlib.Path(__file__).with_suffix(".css"))

_THUMBNAIL = (120, 200)  # pixels (w, h) that a picture fits in
_JPEG_QUALITY = 80
NUM_SAMPLES = 6  # of each split


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A thumbnail u8[h, w, 3] under a heading, a kind of problem or a split, with lines of text."""

  heading: str
  image: np.ndarray
  lines: tuple[str, ...]


def take_pictures(report, records, images_dir):
  """Returns Pictures: of the first images of each kind of problem, those that can be opened, and of each split.

  Args:
    report: Report.
    records: the ImageRecords that it is of.
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
    rows = [row for row, record in enumerate(records) if record.split == split]
    for place in permutation(len(rows), 0)[:NUM_SAMPLES]:
      record = records[rows[place]]
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


def write_html(path, report, pictures=()):
  """Writes the report; a reader sees the whole file or none.

  Args:
    path: HTML file.
    report: Report.
    pictures: Pictures, as from `take_pictures`.
  """
  title = f"{report.name}: {report.verdict}"
  notes = "".join(f"<p>{_escape(note)}</p>" for note in report.notes)
  size = f"<p>{report.num_bytes / 2**20:,.1f} MiB on disk</p>" if report.num_bytes else ""
  body = [
    f'<header><h1>{_escape(title)}</h1><div class="notes">{notes}{size}</div></header>',
    _section("Counts", "", _table(report.count_rows())),
    *_problems(report, pictures),
    _section("Captions", report.captions_line, _bars(report.caption_lengths, "tokens")),
    _section("Images", report.images_line, _bars(report.image_heights, "pixels high")),
    *(_samples(split, pictures) for split in schema.SPLITS),
  ]
  style = "".join(file.read_text() for file in _STYLES)
  page = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{_escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    + "\n".join(part for part in body if part)
    + "\n</body>\n</html>\n"
  )
  files.write_text(path, page)


def _escape(text):
  # Half of a surrogate pair, as a broken annotation file may hold, cannot be written.
  return html.escape(str(text).encode(errors="backslashreplace").decode())


def _section(heading, hint, content):
  """Returns a section, or nothing where there is no content."""
  hint = f'<p class="hint">{_escape(hint)}</p>' if hint else ""
  return f'<section><h2>{_escape(heading)}</h2>{hint}<div class="card scroll">{content}</div></section>' * bool(content)


def _table(rows):
  if not rows:
    return ""
  head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in rows[0])
  lines = []
  for row in rows:
    cells = "".join(f"<td{_mark(row, name)}>{_escape(row[name])}</td>" for name in list(row)[1:])
    lines.append(f'<tr><th scope="row">{_escape(row["split"])}</th>{cells}</tr>')
  return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _mark(row, name):
  """Returns what marks a count that differs from the published one."""
  return ' class="differs"' if row.get(f"{name} published", row[name]) != row[name] else ""


def _bars(histogram, unit):
  most = max(histogram.values(), default=1)
  lines = "".join(
    f"<span>{_escape(f'{name} {unit}')}</span>"
    f'<span class="track"><span class="fill" style="width:{100 * count / most:.2f}%"></span></span>'
    f'<span class="value">{count:,}</span>'
    for name, count in histogram.items()
  )
  return f'<div class="bars">{lines}</div>' if lines else ""


def _problems(report, pictures):
  """Returns a section of errors and one of remarks, a card for each kind."""
  summary = problems.summary(report.problems)
  for heading, is_error in (("Errors, which cannot be used", True), ("Remarks", False)):
    cards = []
    for kind, found in summary.items():
      if found["is_error"] == is_error:
        more = found["count"] - len(found["first"])
        lines = "".join(f"<li>{_escape(line)}</li>" for line in found["first"])
        lines += f"<li>and {more:,} more</li>" if more else ""
        css = "error" if is_error else "remark"
        cards.append(
          f'<article class="card {css}"><h3><span class="mark">{found["count"]:,}</span> {_escape(kind)}</h3>'
          f'<p class="hint">{_escape(found["meaning"])}</p><ul>{lines}</ul>{_row(kind, pictures)}</article>'
        )
    if cards:
      yield f"<section><h2>{heading}</h2>{''.join(cards)}</section>"


def _samples(split, pictures):
  row = _row(split, pictures)
  return f'<section><h2>Some of {split}</h2><div class="card">{row}</div></section>' if row else ""


def _row(heading, pictures):
  figures = "".join(map(_figure, (picture for picture in pictures if picture.heading == heading)))
  return f'<div class="row">{figures}</div>' if figures else ""


def _figure(picture):
  stream = io.BytesIO()
  Image.fromarray(picture.image).save(stream, "JPEG", quality=_JPEG_QUALITY)
  data = base64.b64encode(stream.getvalue()).decode("ascii")
  name, *lines = picture.lines
  text = "".join(f"<br>{_escape(line)}" for line in lines)
  return (
    f'<figure class="sample"><img src="data:image/jpeg;base64,{data}" alt="{_escape(name)}">'
    f"<figcaption><b>{_escape(name)}</b>{text}</figcaption></figure>"
  )


def _thumbnail(file):
  """Returns u8[h, w, 3] of an image file, its aspect kept, or None where it does not open."""
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", module="PIL")
      warnings.simplefilter("error", Image.DecompressionBombWarning)
      with Image.open(file, formats=images.FORMATS) as image:
        if image.width * image.height > images.MAX_PIXELS and not images.can_reduce(image):
          return None
        image.draft("RGB", _THUMBNAIL)
        small = image.convert("RGB")
      with contextlib.suppress(Exception):  # EXIF data may be damaged where pixels are sound
        small = ImageOps.exif_transpose(small)
      small.thumbnail(_THUMBNAIL)
  except Exception:  # of a damaged file, PIL's readers raise whatever it brings them to
    return None
  return np.asarray(small)
