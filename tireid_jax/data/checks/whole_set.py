"""Checks of a data set as a whole, which no single entry or image shows, and of unusual captions."""

import collections
from collections.abc import Iterable, Iterator, Sequence

import ftfy
import numpy as np

from tireid_jax.data.raw import schema
from tireid_jax.data.raw.problems import Problem, number_of, shown
from tireid_jax.data.text.cleaning import is_plain
from tireid_jax.data.tokenizer import MAX_LENGTH

# Our limits: below these, a caption or image is reported as too small to distinguish persons.
_MIN_WORDS = 3
_MIN_SIDE = 16  # pixels
# A caption of this many images does not distinguish them.
_MANY_IMAGES = 10


def image_problems(
  records: Sequence[schema.ImageRecord], sizes: np.ndarray, digests: Sequence[str]
) -> Iterator[Problem]:
  """Yields a Problem for each image that duplicates another one or is too small.

  Args:
    records: ImageRecords.
    sizes: i64[num_images, 2] (h, w) in pixels, zeros if unknown; or empty.
    digests: digest of each image's content, "" if unknown; or empty.
  """
  first: dict = {}
  for record, digest in zip(records, digests, strict=bool(len(digests))):
    other = first.setdefault(digest, record) if digest else record
    if other.image_file != record.image_file:  # an image that is listed twice is no duplicate
      fields = {"identity": "person_id", "split": "split"}
      others = [name for name, field in fields.items() if getattr(other, field) != getattr(record, field)]
      differs = f", with another {' and '.join(others)}" if others else ""
      yield Problem("duplicate image", record.file_path, f"has the content of {shown(other.file_path)}{differs}")
  for row in np.flatnonzero((sizes[:, 0] > 0) & (sizes.min(axis=1, initial=_MIN_SIDE) < _MIN_SIDE)).tolist():
    height, width = sizes[row]
    yield Problem("tiny image", records[row].file_path, f"has {height}x{width} pixels")


def identity_problems(records: Sequence[schema.ImageRecord]) -> Iterator[Problem]:
  """Yields a Problem for each identity in several splits or with a single image."""
  images: dict = collections.defaultdict(list)
  for record in records:
    images[record.person_id].append(record)
  images.pop(schema.NO_PERSON, None)
  for person_id, group in images.items():
    place = f"identity {group[0].person or person_id}"
    splits = {record.split for record in group}
    if len(splits) > 1:
      named = " and ".join(split for split in schema.SPLITS if split in splits)
      yield Problem("identity in several splits", place, f"is in {named}")
    if len(group) == 1:
      yield Problem("identity with one image", place, f"has {shown(group[0].file_path)} alone, in {group[0].split}")


def caption_problems(records: Sequence[schema.ImageRecord], lengths: Iterable[int]) -> Iterator[Problem]:
  """Yields a Problem for each unusual caption, and for each caption of many images.

  Args:
    records: ImageRecords.
    lengths: i64[num_captions] numbers of tokens of their captions, in order; or empty.
  """
  images: collections.Counter[str] = collections.Counter()
  num_tokens = iter(lengths)
  for record in records:
    for caption in record.captions:
      yield from _unusual(record.file_path, caption, next(num_tokens, 0))
    images.update(list(dict.fromkeys(" ".join(caption.split()).lower() for caption in record.captions)))
  for caption, num_images in images.items():
    if num_images >= _MANY_IMAGES:
      yield Problem("repeated caption", f'"{caption}"', f"is a caption of {num_images:,} images")


def _unusual(path, caption, num_tokens):
  """Yields the Problems of one caption."""
  num_words = len(caption.split())
  if num_words < _MIN_WORDS:
    yield Problem("short caption", path, f'has a caption of {number_of(num_words, "word")}: "{shown(caption)}"')
  if num_tokens > 2 * MAX_LENGTH:
    yield Problem("long caption", path, f'has a caption of {num_tokens:,} tokens: "{shown(caption)}"')
  if not caption.isprintable() and not all(letter.isprintable() or letter.isspace() for letter in caption):
    yield Problem("unprintable caption", path, f'has the caption "{shown(caption)}"')
  if is_plain(caption):
    return
  repaired = ftfy.fix_encoding(caption)
  if repaired != caption:
    detail = f'has the caption "{shown(caption)}", which is read as "{shown(repaired)}"'
    yield Problem("wrongly decoded caption", path, detail)
  elif "\N{REPLACEMENT CHARACTER}" in caption:
    yield Problem("wrongly decoded caption", path, f'has the caption "{shown(caption)}", which lost characters')
