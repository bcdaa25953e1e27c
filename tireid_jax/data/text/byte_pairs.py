"""CLIP's byte-pair encoding: from cleaned captions to token ids of OpenAI's vocabulary, read from clip/merges.txt.

Captions are split at spaces, and the ids of each word are cached, since most words of a data set occur many times. A
word that is not cached is split by CLIP's pattern, and the parts are encoded by the byte-pair model of Hugging Face's
`tokenizers`.
"""

import array
import functools
import importlib.resources
import re
from collections.abc import Iterable, Iterator
from typing import Any

VOCABULARY_SIZE = 49_408
START = 49_406
END = 49_407

ID_BYTES = 4

# The pattern of OpenAI and IRRA. Case is ignored by the rules of the package `regex`: "'s" matches "'ſ", and nothing
# matches U+0345, which is not a letter but whose upper case is one. No match contains a space.
_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

# The vocabulary writes each byte as a character, in the order of ids: printable bytes as themselves, the others as the
# code points from 256 up.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_STAND_INS = {byte: chr(256 + index) for index, byte in enumerate(_OTHERS)}
_BYTES = {**{chr(byte): byte for byte in _PRINTABLE}, **{stand_in: byte for byte, stand_in in _STAND_INS.items()}}
_END_OF_WORD = "</w>"

# Cached words per generation. CUHK-PEDES has 9,408 words, several times that with punctuation attached.
_GENERATION_SIZE = 2**15
# Longer words are rare; caching them would leave the memory of the cache unbounded.
_MAX_CACHED_LENGTH = 32


class Encoder(dict):
  """Token ids by word, computed on demand and cached.

  Values are the bytes of i32[L], which concatenate faster than arrays or lists. The cache has two generations: when one
  is full it replaces the previous one, so frequent words stay cached.
  """

  def __init__(self, model: Any, pattern: re.Pattern):
    """
    Args:
      model: a `tokenizers.models.BPE`.
      pattern: splits a word into the parts that are encoded one by one.
    """
    super().__init__()
    self._model, self._split = model, pattern.findall
    self._previous: dict[str, bytes] = {}
    self._special = {"<|startoftext|>": to_bytes([START]), "<|endoftext|>": to_bytes([END])}

  def encode(self, texts: Iterable[str]) -> Iterator[bytes]:
    """Yields the ids of each cleaned caption, without START and END, as the bytes of i32[L]."""
    ids_of = self.__getitem__
    return (b"".join(map(ids_of, text.split())) for text in texts)

  def token_of(self, token: int) -> str | None:
    """Returns the token of an id as the vocabulary writes it; None for ids that have none, such as START."""
    return self._model.id_to_token(token)

  def __missing__(self, word: str) -> bytes:
    ids = self._previous.get(word)
    if ids is None:
      # A word of ASCII letters is one part. Most words are, so the pattern is rarely needed.
      parts = [word] if word.isascii() and word.isalpha() else self._split(word)
      ids = self._encode_part(word) if parts == [word] else b"".join(map(self.__getitem__, parts))
    if len(word) <= _MAX_CACHED_LENGTH:
      if len(self) >= _GENERATION_SIZE:
        self._previous = dict(self)
        self.clear()
      self[word] = ids
    return ids

  def _encode_part(self, part: str) -> bytes:
    special = self._special.get(part)
    if special is not None:
      return special
    # The vocabulary writes printable ASCII as itself.
    is_plain = part.isascii() and part.isprintable()
    stand_ins = part if is_plain else part.encode().decode("latin-1").translate(_STAND_INS)
    # Merging the characters of any end-of-word token yields that token, so a part that is one needs no merging.
    whole = self._model.token_to_id(stand_ins + _END_OF_WORD)
    return to_bytes([token.id for token in self._model.tokenize(stand_ins)] if whole is None else [whole])


def to_bytes(ids: list[int]) -> bytes:
  """Returns token ids as the bytes of i32[L]."""
  return array.array("i", ids).tobytes()


def word_of(token: str) -> str:
  """Returns the word that a token of the vocabulary is; "" for a part of a word, and for one without a letter."""
  characters = token.removesuffix(_END_OF_WORD)
  if characters == token or not _BYTES.keys() >= set(characters):
    return ""
  text = bytes(map(_BYTES.__getitem__, characters)).decode(errors="replace")
  return text if text.isalpha() else ""


@functools.cache
def encoder() -> Encoder:
  """Returns the Encoder of CLIP's vocabulary, the same object at each call."""
  import regex  # imported here, as tokenizers is, because training reads tokens and needs neither
  from tokenizers import models

  text = importlib.resources.files("tireid_jax.data.text").joinpath("clip", "merges.txt").read_text(encoding="utf-8")
  merges = text.partition("\n")[2]  # without the header
  characters = [*map(chr, _PRINTABLE), *_STAND_INS.values()]
  tokens = [*characters, *(character + _END_OF_WORD for character in characters), *merges.replace(" ", "").split()]
  vocabulary = {token: index for index, token in enumerate(tokens)}
  sides = merges.split()
  pairs = list(zip(sides[::2], sides[1::2], strict=True))
  model = models.BPE(vocabulary, pairs, cache_capacity=0, end_of_word_suffix=_END_OF_WORD)
  return Encoder(model, regex.compile(_PATTERN, regex.IGNORECASE))
