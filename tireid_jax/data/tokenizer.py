"""Captions to token ids: CLIP's own byte-pair vocabulary, built in, or one that transformers' CLIPTokenizer reads."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Int

from tireid_jax.data.text import byte_pairs
from tireid_jax.data.text.byte_pairs import END, ID_BYTES, START, VOCABULARY_SIZE, to_bytes
from tireid_jax.data.text.cleaning import clean
from tireid_jax.errors import MissingFileError, UserError, first_line
from tireid_jax.storage import locations

PADDING = 0
MAX_LENGTH = 77

# Either set of files is sufficient for a tokenizer; others refine it.
_SUFFICIENT_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_FILES = ["vocab.json", "merges.txt", "*token*.json"]


class Tokenizer:
  """Encodes captions with one vocabulary: the start token, the caption's ids, the end token, then padding.

  Attributes:
    name: as config.data.tokenizer.
    vocabulary_size: V, one more than the largest id.
    start_token, end_token: ids that enclose a caption.
    padding: 0. It may also be the id of a word, but never of the end token.
    digest: SHA-256 of the files it was read from, "" for CLIP's own.
  """

  padding = PADDING

  def __init__(
    self,
    name: str,
    vocabulary_size: int,
    start_token: int,
    end_token: int,
    digest: str,
    encode: Callable[[list[str]], Iterable[bytes]],
    token_of: Callable[[int], str | None],
  ):
    """
    Args:
      name, vocabulary_size, start_token, end_token, digest: attributes.
      encode: takes cleaned captions and returns the ids of each as bytes of i32[L], without start and end token.
      token_of: returns the token of an id as vocab.json writes it; None if the vocabulary has none.
    """
    if end_token == self.padding:
      raise UserError(f"tokenizer {name}: the end token has id {end_token}, which is padding here; give it another id")
    self.name = name
    self.vocabulary_size = vocabulary_size
    self.start_token, self.end_token = start_token, end_token
    self.digest = digest
    self._encode, self._token_of = encode, token_of

  def __call__(self, captions: list[str], length: int = MAX_LENGTH) -> Int[np.ndarray, "N L"]:
    """Returns i32[N, length] ids; a longer caption is truncated, with the end token as its last id.

    Args:
      captions: list of N strings.
      length: number of positions, at least 2.
    """
    texts = [clean(caption) for caption in _checked(captions, length)]
    start, end = to_bytes([self.start_token]), to_bytes([self.end_token])
    ids_bytes, row_bytes = ID_BYTES * (length - 2), ID_BYTES * length
    tokens = bytearray()
    for ids in self._encode(texts):
      tokens += (start + ids[:ids_bytes] + end).ljust(row_bytes, b"\0")  # padding is 0
    return np.frombuffer(tokens, np.int32).reshape(-1, length)  # [N, L]

  def num_tokens(self, captions: list[str]) -> Int[np.ndarray, " N"]:
    """Returns i32[N] lengths of captions before truncation, including the start and end token."""
    texts = [clean(caption) for caption in _checked(captions)]
    return np.array([len(ids) // ID_BYTES + 2 for ids in self._encode(texts)], np.int32)

  def words(self) -> dict[int, str]:
    """Returns the text of each token id that is a whole word of letters."""
    tokens = ((token, self._token_of(token)) for token in range(self.vocabulary_size))
    return {token: word for token, text in tokens if (word := byte_pairs.word_of(text or ""))}


def load_tokenizer(name: str) -> Tokenizer:
  """Returns the Tokenizer that config.data.tokenizer names.

  Args:
    name: "" for CLIP's own; otherwise a folder or an id on the Hugging Face hub that transformers' CLIPTokenizer reads.

  Raises:
    FileNotFoundError: there is no such folder, and the hub does not have it or cannot be reached.
    ValueError: the files are not those of a CLIP tokenizer.
  """
  if not name:
    return _clip_tokenizer()
  folder = _find_folder(name)
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # of missing torch
  from transformers import CLIPTokenizer  # here, since importing it takes seconds

  try:
    # The folder, never the id: given an id it calls the hub, which takes half a minute without a network.
    library = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
  except Exception as error:  # transformers raises errors of many types for invalid files
    raise UserError(f"{folder} holds no CLIP tokenizer ({first_line(error)}); give another folder or id") from error

  def encode(texts):
    # Not verbose: a caption longer than the model's context is truncated, which is no mistake.
    return map(to_bytes, library(texts, add_special_tokens=False, verbose=False)["input_ids"]) if texts else []

  vocabulary = library.get_vocab()
  return Tokenizer(
    name,
    vocabulary_size=max(vocabulary.values()) + 1,
    start_token=library.bos_token_id,
    end_token=library.eos_token_id,
    digest=_digest(folder),
    encode=encode,
    token_of=library.convert_ids_to_tokens,
  )


def tokenize(captions: list[str], length: int = MAX_LENGTH) -> Int[np.ndarray, "N L"]:
  """Returns i32[N, length] ids of CLIP's own vocabulary: START, the caption's ids, END, then PADDING.

  A longer caption is truncated, with END as its last id. PADDING is also the id of "!" inside a word, so a caption's
  length follows from the position of its last id other than PADDING, not from the number of those.

  Args:
    captions: list of N strings.
    length: number of positions, at least 2.
  """
  return _clip_tokenizer()(captions, length)


def token_lengths(tokens: Int[np.ndarray, "N L"]) -> Int[np.ndarray, " N"]:
  """Returns i32[N] lengths of captions in a Tokenizer's result i32[N, L], including the start and end token.

  The end token is never PADDING, and the last one ends the caption, whose text may also spell it.
  """
  return (tokens.shape[1] - np.argmax(tokens[:, ::-1] != PADDING, axis=1)).astype(np.int32)


@functools.cache
def _clip_tokenizer():
  # The vocabulary is loaded when the first caption is encoded.
  return Tokenizer(
    "", VOCABULARY_SIZE, START, END, digest="",
    encode=lambda texts: byte_pairs.encoder().encode(texts),
    token_of=lambda token: byte_pairs.encoder().token_of(token),
  )  # fmt: skip


def _find_folder(name):
  """Returns the folder of a tokenizer's files: `name` itself, or the local copy from the hub, downloaded if missing."""
  folder = locations.local_path(name, "--config.data.tokenizer")
  if folder.is_dir():
    if not _is_sufficient(folder):
      raise MissingFileError(f"{folder} holds no tokenizer.json, nor vocab.json with merges.txt; give another folder")
    return folder
  from tireid_jax.storage import hub  # here, since its client takes part of a second

  copy = hub.cached_copy(name, _is_sufficient, _FILES)  # first: the hub is queried only for files that are not cached
  try:
    if copy is None:
      hub.list_files(name)
      copy = hub.download(name, _FILES)
  except hub.HubError as error:
    raise MissingFileError(
      f"there is no folder {name}, and the Hugging Face hub gives no tokenizer {name} ({error.reason}); "
      f"{error.advice}check config.data.tokenizer, or give a folder with vocab.json and merges.txt"
    ) from error
  if not _is_sufficient(copy):
    raise MissingFileError(f"{name} on the Hugging Face hub holds no tokenizer of CLIP's kind; give another id")
  return copy


def _is_sufficient(folder):
  return any(all((folder / file).is_file() for file in names) for names in _SUFFICIENT_FILES)


def _digest(folder):
  """Returns a digest of the tokenizer's files and their names."""
  found = sorted({file for pattern in _FILES for file in folder.glob(pattern)})
  digests = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in found]
  return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _checked(captions, length=MAX_LENGTH):
  if isinstance(captions, str):
    raise ValueError(f"captions must be a list of strings, got the string {captions[:40]!r}; put it into a list")
  if length < 2:
    raise ValueError(f"length must be at least 2 to hold the start and the end token, got {length}")
  return captions
