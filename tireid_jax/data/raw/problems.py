"""What can be wrong with a raw data set: a table of kinds, and problems counted by kind with the first ones named."""

import dataclasses
import typing

from tireid_jax.errors import MissingFileError, UserError

# Of each kind, so many are named.
NUM_NAMED = 10

# Of names and values in a message, so many characters are shown.
_SHOWN_LENGTH = 100


class Kind(typing.NamedTuple):
  """What a kind of problem means, and whether it is an error: something that cannot be used."""

  meaning: str
  is_error: bool


KINDS = {
  # Of annotation files.
  "unusable entry": Kind("an entry lacks its image path or identity, or has one of the wrong type", True),
  "path leaves the folder": Kind("an image path is absolute or has ..", True),
  "unknown split": Kind("a split is none of train, val, test", True),
  "captions are a string": Kind("captions are one string where a list of strings is due", True),
  "no caption": Kind("an image has no caption", True),
  "empty caption": Kind("a caption is empty or white space", True),
  "caption is no text": Kind("a caption is no string, or one that is no Unicode text", True),
  "caption is a list": Kind("a caption is a list of captions that some tool has written as text", True),
  "conflicting entries": Kind("an image is given again, with another identity or split; the first is used", True),
  "one file under two names": Kind("names that differ by case alone, on a file system that takes them for one", True),
  "missing image": Kind("an image is not there, or is no file", True),
  "repeated image": Kind("an image is given again, with the same identity and split", False),
  "names that collide by case": Kind("names that differ by case alone; some file systems take them for one", False),
  # Of image files.
  "zero-size image": Kind("an image file has 0 bytes", True),
  "truncated image": Kind("an image file ends early", True),
  "unreadable image": Kind("a file does not decode as an image", True),
  "duplicate image": Kind("an image has the same content as another", False),
  "tiny image": Kind("an image is too small to show a person", False),
  # Of what they say together.
  "identity in several splits": Kind("an identity is in more than one split, so the splits are no longer apart", False),
  "identity with one image": Kind("an identity has a single image", False),
  "unprintable caption": Kind("a caption has control or other invisible characters", False),
  "wrongly decoded caption": Kind("a caption was saved in one encoding and read in another", False),
  "short caption": Kind("a caption has fewer than 3 words", False),
  "long caption": Kind("a caption has more than twice the tokens that there is room for", False),
  "repeated caption": Kind("a caption is given to many images", False),
}


@dataclasses.dataclass(frozen=True)
class Problem:
  """One thing that is wrong: `str(problem)` says so, as "a/b.jpg is not there".

  Attributes:
    kind: a name in KINDS.
    place: what it is wrong with: an image's path, "entry 3", "line 7", "identity 12", a caption.
    detail: what is wrong with it, to be read after `place`.
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
  def is_error(self):
    """Whether what it names cannot be used: it is left out, or nothing is prepared."""
    return KINDS[self.kind].is_error


def by_kind(problems):
  """Returns {kind: its problems}, in the order of KINDS; kinds without any are left out."""
  groups: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
  for problem in problems:
    groups[problem.kind].append(problem)
  return {kind: group for kind, group in groups.items() if group}


def summary(problems):
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


def raise_errors(problems, source, images):
  """Raises what is wrong in one line, if any of the problems is an error.

  Args:
    problems: Problems of one data set.
    source: its annotation file.
    images: folder that the images should be in.

  Raises:
    ValueError: entries are unusable; the first three are named.
    FileNotFoundError: nothing but images that are not there; likewise.
  """
  errors = [problem for problem in problems if problem.is_error]
  missing = [problem.place for problem in errors if problem.kind == "missing image"]
  if len(missing) < len(errors):
    raise UserError(_line(source, "unusable entries", [str(e) for e in errors if e.kind != "missing image"]))
  if missing:
    raise MissingFileError(f"{_line(source, 'images that are not there', map(shown, missing))} (below {images})")


def shown(text):
  """Returns text as it can stand in one line on any terminal: cut, and escaped where it does not print."""
  text = text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."
  return text if text.isprintable() else ascii(text)[1:-1]


def number_of(count, noun):
  """Returns "1 error" or "2,000 errors"."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _line(source, what, names):
  names = list(names)
  return f"{source}: {len(names)} {what}: {'; '.join(names[:3])}{'; ...' if len(names) > 3 else ''}"
