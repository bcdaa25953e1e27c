"""Queries: a sentence, an image, or a weighted mix of both."""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from tireid_jax.errors import UserError, naming
from tireid_jax.search.gallery import is_image_name
from tireid_jax.storage import locations

Content = str | pathlib.Path | np.ndarray

# WEIGHT:"sentence" or WEIGHT:IMAGE; parts of a mix are joined by " + " outside of quotes.
_PART = re.compile(r'(?:(?P<weight>[-+]?\d+(?:\.\d+)?):)?(?:"(?P<sentence>[^"]*)"|(?P<image>\S.*))', re.DOTALL)
_SPLIT = re.compile(r'\s\+\s(?=(?:[^"]*"[^"]*")*[^"]*$)')


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
  """A weighted mix: the sum of the weighted, normalised embeddings of its parts.

  Attributes:
    parts: (weight, content) of each; a str is a sentence, a Path an image file, an array pixels u8[h, w, 3]. A negative
      weight moves away from its part.
  """

  parts: Sequence[tuple[float, Content]]

  def __post_init__(self):
    if not self.parts:
      raise UserError("the query is empty; give a sentence or an image")
    for weight, content in self.parts:
      if not math.isfinite(weight) or weight == 0:
        raise UserError(f"the weight of a query is {weight}; it must be a number other than 0")
      if isinstance(content, str) and not content.strip():
        raise UserError("the query is empty; give a sentence or an image")

  @classmethod
  def of(cls, content: "Content | Query") -> "Query":
    """Returns a Query of one part, or the Query itself."""
    return content if isinstance(content, Query) else cls([(1.0, content)])


def parse(text: str) -> Query:
  """Returns the Query of the command line.

  `2:"red coat" + ./pool.jpg` is a mix. A part is an image if it is not quoted and either begins with /, ./, ../ or ~/
  or ends like an image's name. Text that contains neither quotes nor such a path is a sentence as it is.

  Raises:
    UserError: it is empty, or a mix with a part that is neither quoted nor an image.
  """
  parts = [_PART.fullmatch(part.strip()) for part in _SPLIT.split(text.strip())]
  known = [part is not None and (part["sentence"] is not None or _is_image(part["image"])) for part in parts]
  if not any(known):
    return Query.of(text.strip())
  if not all(known):
    wrong = _SPLIT.split(text.strip())[known.index(False)]
    raise UserError(f"the part {wrong.strip()!r} of the query is no image; put a sentence of a mix into double quotes")
  return Query([
    (float(part["weight"] or 1), part["sentence"] if part["sentence"] is not None else _file(part["image"]))
    for part in parts if part is not None
  ])  # fmt: skip


def read_queries(file: str | os.PathLike) -> list[str]:
  """Returns the lines of a file that are not empty, each a query.

  Raises:
    UserError, MissingFileError: there are none, or the file cannot be read.
  """
  path = locations.local_path(file, "--queries")
  with naming(file):
    try:
      lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
      raise UserError(f"--queries={file} is no text in UTF-8 ({error})") from error
  found = [line.strip() for line in lines if line.strip()]
  if not found:
    raise UserError(f"--queries={file} holds no query; give one on each line")
  return found


def _is_image(text):
  return text.startswith(("/", "./", "../", "~/")) or is_image_name(text)


def _file(text):
  return locations.local_path(text, "--query")
