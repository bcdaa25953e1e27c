"""CLIP's byte-pair encoding compared with a direct implementation, which is itself tested on golden captions."""

import functools
import hashlib
import html
import itertools
import json
import pathlib

import ftfy
import numpy as np
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from tests.data import vocabularies
from tireid_jax.data import tokenizer
from tireid_jax.data.text import byte_pairs

GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "testdata" / "tokenizer.json").read_text())
PATTERN = regex.compile(
  r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
# The character that represents each byte in the merges.
CHARACTERS = dict(
  zip([*_PRINTABLE, *(byte for byte in range(256) if byte not in _PRINTABLE)], vocabularies.BYTES, strict=True)
)
SPECIAL = {"<|startoftext|>": [49406], "<|endoftext|>": [49407]}


@functools.cache
def ranks():
  """Returns {(left, right): rank}; the token that a merge produces has the id 512 + rank."""
  return {tuple(merge.split(" ")): rank for rank, merge in enumerate(vocabularies.merges_of_clip())}


@functools.cache
def ids_by_token():
  characters = [*vocabularies.BYTES, *(character + "</w>" for character in vocabularies.BYTES)]
  return {token: index for index, token in enumerate([*characters, *map("".join, ranks())])}


def merged(symbols):
  """Merges the leftmost pair of lowest rank until no pair is left, and returns the remaining symbols of a word."""
  while True:
    known = [(ranks()[pair], left) for left, pair in enumerate(itertools.pairwise(symbols)) if pair in ranks()]
    if not known:
      return symbols
    _, left = min(known)
    symbols = [*symbols[:left], symbols[left] + symbols[left + 1], *symbols[left + 2 :]]


def expected_ids(caption):
  """Returns the reference ids of a caption: cleaned as a whole, split by the pattern, and merged pair by pair."""
  text = html.unescape(html.unescape(ftfy.fix_text(caption))).strip()
  text = regex.sub(r"\s+", " ", text).strip().lower()
  ids = []
  for word in PATTERN.findall(text):
    *symbols, last = [CHARACTERS[byte] for byte in word.encode()]
    ids += SPECIAL.get(word) or [ids_by_token()[token] for token in merged([*symbols, last + "</w>"])]
  return ids


def ids_of(caption):
  num_tokens = tokenizer.load_tokenizer("").num_tokens([caption])[0]
  return tokenizer.tokenize([caption], int(num_tokens))[0, 1:-1].tolist()


# Parts of words that are critical for the pattern, lower-casing or the order of bytes.
PARTS = [
  "<|startoftext|>", "<|endoftext|>", "<|EndOfText|>", "<|ſtartoftext|>", "<|", "|>", "'s", "'S", "'ſ", "'t", "'re",
  "'ll", "'", "’s", "ſ", "\u0345", "\u212a", "ı", "İ", "ß", "é", "e\u0301", "²", "Ⅷ", "½", "٣", "七", "上", "ひ", "한",
  "क्", "😀", "👩\u200d🦰", "\u200b", "\ufeff", "\xad", "_", "-", "!", "&amp;", "7", "a", "coat", "REDDISH", "</w>", "Ġ",
  " ", "  ", "\n", "\xa0", "\x1c", "\x85",
]  # fmt: skip
CAPTIONS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=20)


@given(CAPTIONS)
@example("<|ſtartoftext|>")
@example("a'\u0345s")
@example("'ſt")
def test_any_caption_has_the_ids_of_the_reference(caption):
  assert ids_of(caption) == expected_ids(caption)


@pytest.mark.parametrize("caption", GOLDEN["captions"], ids=lambda caption: caption["kind"])
def test_the_reference_gives_the_golden_ids(caption):
  if "<|mask|>" not in caption["text"].lower():  # a token that only the reference has
    assert expected_ids(caption["text"]) == caption["ids"]


def test_the_merges_equal_those_of_openai():
  content = (pathlib.Path(byte_pairs.__file__).parent / "clip" / "merges.txt").read_bytes()
  # The digest of the first 48,895 lines of bpe_simple_vocab_16e6.txt.
  assert hashlib.sha256(content).hexdigest() == "685491abbdad36159d094ecdc23bebc0dd53f8d1df35c4d74ef6036db2ba7572"


def test_merging_the_characters_of_an_end_of_word_token_yields_it():
  # This allows the encoder to look up the token of a whole word instead of merging its characters.
  model = byte_pairs.encoder()._model
  words = [(token, index) for token, index in ids_by_token().items() if token.endswith("</w>")]
  assert len(words) > 20_000
  others = [word for word, index in words if [t.id for t in model.tokenize(word.removesuffix("</w>"))] != [index]]
  assert others == []


@pytest.fixture
def encoder(monkeypatch):
  """An Encoder with an empty cache of two generations of 8 words."""
  monkeypatch.setattr(byte_pairs, "_GENERATION_SIZE", 8)
  full = byte_pairs.encoder()
  return byte_pairs.Encoder(full._model, PATTERN)


def encode(encoder, text):
  (ids,) = encoder.encode([text])
  return np.frombuffer(ids, np.int32).tolist()


def test_the_cache_holds_at_most_two_generations_and_eviction_does_not_change_ids(encoder):
  for number in range(100):
    word = f"{chr(ord('a') + number % 26)}{chr(ord('a') + number // 26)}x"
    text = f"{word}, red {word}"
    assert encode(encoder, text) == expected_ids(text)
    assert len(encoder) <= 8
    assert len(encoder._previous) <= 8


def test_a_frequent_word_is_not_evicted(encoder):
  encode(encoder, "red")
  encoded = []
  encode_part = encoder._encode_part
  encoder._encode_part = lambda part: encoded.append(part) or encode_part(part)
  for number in range(60):
    encode(encoder, f"red {chr(ord('a') + number % 26)}{chr(ord('a') + number // 26)}")
  assert "red" not in encoded
  assert len(encoded) == 60


def test_a_long_word_is_encoded_but_not_cached(encoder):
  for word in ("x" * 33, "red-" * 9):
    assert encode(encoder, word) == expected_ids(word)
    assert word not in encoder
  assert "red" in encoder


@pytest.mark.parametrize("byte", [0x00, 0x21, 0x7E, 0x7F])
def test_an_ascii_byte_has_the_id_of_its_character(encoder, byte):
  assert encode(encoder, chr(byte)) == [ids_by_token()[CHARACTERS[byte] + "</w>"]]
