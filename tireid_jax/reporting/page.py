"""Self-contained HTML pages: skeleton, style, tables and bars that all pages use, escaped by Jinja."""

import base64
import io
import pathlib
from typing import Any, NamedTuple

import jinja2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from tireid_jax.storage import files

_FOLDER = pathlib.Path(__file__).parent


class Cell(NamedTuple):
  """A cell of a table: its text, and its CSS class, if any."""

  text: str
  css: str = ""


class Bar(NamedTuple):
  """A horizontal bar: its name, its length in percent of the full width, and the value shown after it."""

  name: str
  percent: float
  value: str


def write_page(path: str | pathlib.Path, template: pathlib.Path, *, title: str, notes=(), **values: Any) -> None:
  """Writes a page atomically.

  Text is escaped wherever a template inserts it. A lone surrogate, which UTF-8 cannot encode, is written as \\udXXX.

  Args:
    path: HTML file.
    template: of the page, which extends page.html; a style sheet of the same name next to it is added to page.css.
    title: of the page.
    notes: paragraphs of text below the title.
    **values: variables of the template, which can also use the filter `jpeg_uri` for images, u8[h, w, 3].
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([template.parent, _FOLDER]), autoescape=True, undefined=jinja2.StrictUndefined,
    finalize=_writable, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
  )  # fmt: skip
  environment.filters["jpeg_uri"] = jpeg_uri
  sheets = (_FOLDER / "page.css", template.with_suffix(".css"))
  style = Markup("".join(sheet.read_text() for sheet in sheets if sheet.exists()))
  page = environment.get_template(template.name).render(title=title, notes=notes, style=style, **values)
  files.write_text(path, page)


def jpeg_uri(image: UInt8[np.ndarray, "h w 3"], quality: int, height: int = 0) -> str:
  """Returns u8[h, w, 3] as a data: URI of a JPEG file.

  Args:
    image: pixels.
    quality: 1 to 95.
    height: pixels to reduce a higher image to; 0 for its own.
  """
  stream = io.BytesIO()
  picture = Image.fromarray(image)
  if 0 < height < picture.height:
    width = max(1, round(picture.width * height / picture.height))
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
  picture.save(stream, "JPEG", quality=quality)
  return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _writable(value):
  return value if isinstance(value, Markup) else str(value).encode(errors="backslashreplace").decode()
