"""Problems of raw data sets: a table of kinds, and summaries that count problems by kind and name the first ones."""

import dataclasses
import pathlib
import typing
from collections.abc import Iterable

from tireid_jax.errors import MissingFileError, UserError

# Problems of each kind that are named in a summary.
NUM_NAMED = 10

# Characters shown of a name or value in a message.
_SHOWN_LENGTH = 100


class Kind(typing.NamedTuple):
  """What a kind of problem means, and whether it is an error, which makes an entry, caption or image unusable."""

  meaning: str
  is_error: bool


KINDS = {
  # In annotation files.
  "unusable entry": Kind("an entry lacks its image path or identity, or has one of the wrong type", True),
  "path leaves the folder": Kind("an image path is absolute or has ..", True),
  "unknown split": Kind("a split is none of train, val, test", True),
  "captions are a string": Kind("captions are one string instead of a list of strings", True),
  "no caption": Kind("an image has no caption", True),
  "empty caption": Kind("a caption is empty or white space", True),
  "caption is no text": Kind("a caption is no string, or one that is no Unicode text", True),
  "caption is a list": Kind("a caption is a list of captions that a tool has converted to text", True),
  "conflicting entries": Kind("an image is given again, with another identity or split; the first is used", True),
  "one file under two names": Kind("names that differ only by case, on a file system that ignores case", True),
  "missing image": Kind("an image does not exist, or is no file", True),
  "repeated image": Kind("an image is given again, with the same identity and split", False),
  "names that collide by case": Kind("names that differ only by case; some file systems ignore case", False),
  # In image files.
  "zero-size image": Kind("an image file has 0 bytes", True),
  "truncated image": Kind("an image file ends early", True),
  "unreadable image": Kind("a file does not decode as an image", True),
  "duplicate image": Kind("an image has the same content as another", False),
  "tiny image": Kind("an image is too small to show a person", False),
  # In the data set as a whole.
  "identity in several splits": Kind("an identity is in more than one split, so the splits are not disjoint", False),
  "identity with one image": Kind("an identity has a single image", False),
  "unprintable caption": Kind("a caption has control or other invisible characters", False),
  "wrongly decoded caption": Kind("a caption was saved in one encoding and read in another", False),
  "short caption": Kind("a caption has fewer than 3 words", False),
  "long caption": Kind("a caption has more than twice the tokens that the model reads", False),
  "repeated caption": Kind("many images have the same caption", False),
}


@dataclasses.dataclass(frozen=True)
class Problem:
  """One problem; `str(problem)` is a sentence like "a/b.jpg is not there".

  Attributes:
    kind: a key of KINDS.
    place: what has the problem: an image's path, "entry 3", "line 7", "identity 12", a caption.
    detail: the problem, to be read after `place`.
  """

  kind: str
  place: str
  detail: str

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"there is no kind of problem {self.kind!r}; the kinds are {', '.join(KINDS)}")

  def __str__(self):
    return f"{shown(self.place)} {self.detail}"

  @property
  def is_error(self) -> bool:
    """Whether the entry, caption or image is unusable: it is left out, or nothing is prepared."""
    return KINDS[self.kind].is_error


def by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
  """Returns {kind: its problems}, in the order of KINDS, without kinds that have none."""
  groups: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
  for problem in problems:
    groups[problem.kind].append(problem)
  return {kind: group for kind, group in groups.items() if group}


def summary(problems: Iterable[Problem]) -> dict[str, dict]:
  """Returns {kind: {"count", "is_error", "meaning", "first"}} as JSON data; `first` names up to NUM_NAMED of them."""
  return {
    kind: {
      "count": len(group),
      "is_error": KINDS[kind].is_error,
      "meaning": KINDS[kind].meaning,
      "first": [str(problem) for problem in group[:NUM_NAMED]],
    }
    for kind, group in by_kind(problems).items()
  }


def raise_errors(problems: Iterable[Problem], source: pathlib.Path, images: pathlib.Path) -> None:
  """Raises the errors among the problems, if any, as one line.

  Args:
    problems: Problems of one data set.
    source: its annotation file.
    images: folder that the images should be in.

  Raises:
    ValueError: entries are unusable; the first three are named.
    FileNotFoundError: the only errors are missing images; likewise.
  """
  errors = [problem for problem in problems if problem.is_error]
  missing = [problem.place for problem in errors if problem.kind == "missing image"]
  if len(missing) < len(errors):
    raise UserError(_line(source, "unusable entries", [str(e) for e in errors if e.kind != "missing image"]))
  if missing:
    raise MissingFileError(f"{_line(source, 'images that are not there', map(shown, missing))} (below {images})")


def shown(text: str) -> str:
  """Returns text for one line of any terminal: shortened, and escaped if it is not printable."""
  text = text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."
  return text if text.isprintable() else ascii(text)[1:-1]


def number_of(count: int, noun: str) -> str:
  """Returns "1 error" or "2,000 errors"."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _line(source, what, names):
  names = list(names)
  return f"{source}: {len(names)} {what}: {'; '.join(names[:3])}{'; ...' if len(names) > 3 else ''}"
