"""CLIP's tokenizer: captions to ids of its lower-cased byte-pair vocabulary of 49,408."""

import functools
import html
import re
import unicodedata

import ftfy
import instant_clip_tokenizer
import numpy as np

START = 49_406
END = 49_407
PADDING = 0
MAX_LENGTH = 77

# What the byte-pair library reads otherwise than the reference: the literal names of the two special tokens, and the
# long s after an apostrophe, which the reference's case-blind pattern takes for the ending 's ("'", then the two
# bytes of the letter).
_SPECIAL = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'ſ")
_SPECIAL_IDS = {"<|startoftext|>": [START], "<|endoftext|>": [END], "'ſ": [6, 129, 379]}


def tokenize(captions, length=MAX_LENGTH):
  """Returns i32[N, length] ids: START, the caption's, END, then PADDING.

  A longer caption is cut, and its last id is END. PADDING is also the id of "!" inside a word, so a caption's length is
  the place of its last id that is not PADDING, not the number of those.

  Args:
    captions: list of N strings.
    length: columns of the result, at least 2.
  """
  if length < 2:
    raise ValueError(f"length must be at least 2 to hold the start and the end token, got {length}")
  tokens = np.full((len(_checked(captions)), length), PADDING, np.int32)  # [N, L]
  for row, caption in zip(tokens, captions, strict=True):
    ids = [START, *_encode(caption)[: length - 2], END]
    row[: len(ids)] = ids
  return tokens


def num_tokens(captions):
  """Returns i32[N] lengths of captions before they are cut, START and END included."""
  return np.array([len(_encode(caption)) + 2 for caption in _checked(captions)], np.int32)


def token_lengths(tokens):
  """Returns i32[N] lengths of rows of `tokenize`'s result, START and END included."""
  return (tokens.shape[1] - np.argmax(tokens[:, ::-1] != PADDING, axis=1)).astype(np.int32)


def clean(caption):
  """Returns the caption with its encoding repaired, HTML unescaped, white space collapsed, in lower case."""
  if not is_plain(caption):
    caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
  return re.sub(r"\s+", " ", caption).strip().lower()


def is_plain(caption):
  """Tells captions that repairing and unescaping leave as they are; ftfy takes most of the time."""
  return caption.isascii() and caption.isprintable() and "&" not in caption


def _encode(caption):
  """Returns the list of ids of one caption, without START and END."""
  text = clean(caption)
  ids, start = [], 0
  for match in _SPECIAL.finditer(text):
    if _begins_word(text, match.start(), start):
      ids += _library().encode(text[start : match.start()]) + _SPECIAL_IDS[match.group()]
      start = match.end()
  return ids + _library().encode(text[start:])


def _begins_word(text, position, last_end):
  """Tells whether the reference starts a new match at `position`: not inside a run of punctuation."""
  if position == last_end:
    return True
  before = text[position - 1]
  return before.isspace() or unicodedata.category(before)[0] in "LN"


def _checked(captions):
  if isinstance(captions, str):
    raise ValueError(f"captions must be a list of strings, got the string {captions[:40]!r}; put it into a list")
  return captions


@functools.cache
def _library():
  return instant_clip_tokenizer.Tokenizer()
