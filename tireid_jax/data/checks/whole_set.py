"""What is wrong with a data set as a whole, which no single entry or image shows, and what is odd about captions."""

import collections

import ftfy
import numpy as np

from tireid_jax.data.raw import schema
from tireid_jax.data.raw.problems import Problem, number_of, shown
from tireid_jax.data.text.cleaning import is_plain
from tireid_jax.data.tokenizer import MAX_LENGTH

# Below these, ours, a caption or image is remarked on: too little to tell one person from another.
_MIN_WORDS = 3
_MIN_SIDE = 16  # pixels
# A caption of so many images tells none of them from the others.
_MANY_IMAGES = 10


def image_problems(records, sizes, digests):
  """Yields a Problem for each image that is another one again, or too small.

  Args:
    records: ImageRecords.
    sizes: i64[num_images, 2] (h, w) pixels of each, or zeros where that is not known; or of none.
    digests: digest of each one's content, or nothing where that is not known; or of none.
  """
  first: dict = {}
  for record, digest in zip(records, digests, strict=bool(len(digests))):
    other = first.setdefault(digest, record) if digest else record
    if other.image_file != record.image_file:  # an image given twice is no copy of itself
      fields = {"identity": "person_id", "split": "split"}
      others = [name for name, field in fields.items() if getattr(other, field) != getattr(record, field)]
      differs = f", with another {' and '.join(others)}" if others else ""
      yield Problem("duplicate image", record.file_path, f"has the content of {shown(other.file_path)}{differs}")
  for row in np.flatnonzero((sizes[:, 0] > 0) & (sizes.min(axis=1, initial=_MIN_SIDE) < _MIN_SIDE)):
    height, width = sizes[row]
    yield Problem("tiny image", records[row].file_path, f"has {height}x{width} pixels")


def identity_problems(records):
  """Yields a Problem for each identity that is in several splits or has one image."""
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


def caption_problems(records, lengths):
  """Yields a Problem for each odd caption, and for each that many images have.

  Args:
    records: ImageRecords.
    lengths: i64[num_captions] tokens of their captions in turn; or of none.
  """
  images: collections.Counter[str] = collections.Counter()
  rows = iter(lengths)
  for record in records:
    for caption in record.captions:
      yield from _odd(record.file_path, caption, next(rows, 0))
    images.update(list(dict.fromkeys(" ".join(caption.split()).lower() for caption in record.captions)))
  for caption, num_images in images.items():
    if num_images >= _MANY_IMAGES:
      yield Problem("repeated caption", f'"{caption}"', f"is a caption of {num_images:,} images")


def _odd(path, caption, num_tokens):
  """Yields what is odd about one caption."""
  num_words = len(caption.split())
  if num_words < _MIN_WORDS:
    yield Problem("short caption", path, f'has a caption of {number_of(num_words, "word")}: "{shown(caption)}"')
  if num_tokens > 2 * MAX_LENGTH:
    yield Problem("long caption", path, f'has a caption of {num_tokens:,} tokens: "{shown(caption)}"')
  if not caption.isprintable() and not all(letter.isprintable() or letter.isspace() for letter in caption):
    yield Problem("unprintable caption", path, f'has the caption "{shown(caption)}"')
  if is_plain(caption):
    return
  mended = ftfy.fix_encoding(caption)
  if mended != caption:
    detail = f'has the caption "{shown(caption)}", which is read as "{shown(mended)}"'
    yield Problem("wrongly decoded caption", path, detail)
  elif "\N{REPLACEMENT CHARACTER}" in caption:
    yield Problem("wrongly decoded caption", path, f'has the caption "{shown(caption)}", which lost characters')
