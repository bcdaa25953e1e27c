"""CLIP's tokenizer compared with ids of the reference implementation, and tokenizers loaded by folder or Hub id."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import unittest.mock

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
import numpy as np
import pytest

from tests.data import vocabularies
from tireid_jax.data import tokenizer

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "testdata" / "tokenizer.json").read_text())
# The reference uses id 49405 for an additional token, <|mask|>; in OpenAI's vocabulary that id is the word "jekyll".
REFERENCE_ONLY_TOKEN = "<|mask|>"


def test_every_golden_caption_has_the_ids_of_the_reference():
  captions = [c for c in GOLDEN["captions"] if REFERENCE_ONLY_TOKEN not in c["text"].lower()]
  assert len(GOLDEN["captions"]) - len(captions) == 1
  expected = np.zeros((len(captions), 77), np.int32)
  for ids, caption in zip(expected, captions, strict=True):
    ids[: len(caption["padded"])] = caption["padded"]
  tokens = tokenizer.tokenize([c["text"] for c in captions])
  assert tokens.dtype == np.int32
  assert [c["text"] for c, same in zip(captions, (tokens == expected).all(axis=1), strict=True) if not same] == []


def test_the_last_word_of_openai_s_vocabulary_is_included():
  assert tokenizer.tokenize(["Dr Jekyll"])[0, :4].tolist() == [49406, 1701, 49405, 49407]


def test_num_tokens_counts_tokens_before_truncation():
  captions = [c for c in GOLDEN["captions"] if c["kind"] != "special"]
  expected = [len(c["ids"]) + 2 for c in captions]
  assert max(expected) > 77
  assert tokenizer.load_tokenizer("").num_tokens([c["text"] for c in captions]).tolist() == expected


def test_token_lengths_finds_the_end_token_after_a_word_with_id_0():
  # "!" inside a word has id 0, like padding.
  tokens = tokenizer.tokenize(["!<|startoftext|>", "a", "word " * 100])
  assert tokens[0, 1] == 0
  assert tokenizer.token_lengths(tokens).tolist() == [10, 3, 77]


@pytest.mark.parametrize("length", [2, 5, 16, 77])
def test_a_long_caption_is_truncated_and_ends_with_the_end_token(length):
  whole = tokenizer.tokenize(["a b c d e f g h i j k l m n"], 77)[0]
  cut = tokenizer.tokenize(["a b c d e f g h i j k l m n"], length)[0]
  kept = min(length, 16) - 1
  assert cut[:kept].tolist() == whole[:kept].tolist()
  assert cut[kept] == tokenizer.END
  assert not cut[kept + 1 :].any()


@pytest.mark.parametrize(
  ("text", "ids"),
  [
    # Within punctuation, the name of a special token is punctuation; after a letter or another such name it is a token.
    ("<|startoftext|><|endoftext|>", [49406, 49407]),
    ("a<|endoftext|>", [320, 49407]),
    ("(<|endoftext|>", [7, 27, 347, 40786, 4160, 91, 285]),
    ("it'ſ", [585, 6, 129, 379]),
    ("it 'ſ", [585, 6, 129, 379]),
    # The reference's pattern does not match U+0345, which therefore ends a word or a sequence of punctuation.
    ("a\u0345b", [320, 321]),
    ("(\u0345<|endoftext|>", [263, 49407]),
  ],
)
def test_special_tokens_the_long_s_and_the_iota_subscript_have_the_ids_of_the_reference(text, ids):
  assert tokenizer.tokenize([text])[0, 1 : len(ids) + 1].tolist() == ids


def test_a_string_instead_of_a_list_is_an_error():
  for function in (tokenizer.tokenize, tokenizer.load_tokenizer("").num_tokens):
    with pytest.raises(ValueError, match="must be a list of strings, got the string 'a man'"):
      function("a man")


def test_a_length_too_short_for_start_and_end_token_is_an_error():
  with pytest.raises(ValueError, match="length must be at least 2"):
    tokenizer.tokenize(["a man"], 1)


def test_an_empty_list_gives_an_array_of_length_0():
  assert tokenizer.tokenize([]).shape == (0, 77)


@pytest.fixture
def folder(tmp_path):
  vocabularies.make_tokenizer(tmp_path / "words")
  return tmp_path / "words"


def test_the_empty_name_selects_clip_s_own_tokenizer():
  own = tokenizer.load_tokenizer("")
  captions = ["a man", "word " * 100, "<|endoftext|>"]
  assert (own.name, own.vocabulary_size, own.end_token, own.padding) == ("", 49_408, 49_407, 0)
  np.testing.assert_array_equal(own(captions, 20), tokenizer.tokenize(captions, 20))


def test_a_tokenizer_folder_gives_its_own_ids_and_special_tokens(tmp_path):
  ids = vocabularies.make_tokenizer(tmp_path / "words")
  other = tokenizer.load_tokenizer(str(tmp_path / "words"))
  assert (other.name, other.vocabulary_size, other.end_token) == (str(tmp_path / "words"), 519, 518)
  start, red, coat, a, o, end = (
    ids[token] for token in ("<|startoftext|>", "red</w>", "coat</w>", "a</w>", "o", "<|endoftext|>")
  )
  tokens = other(["A  RED coat", "red " * 9, "oa"], 6)
  assert tokens.dtype == np.int32
  assert tokens.tolist() == [[start, a, red, coat, end, 0], [start, red, red, red, red, end], [start, o, a, end, 0, 0]]
  assert tokenizer.token_lengths(tokens).tolist() == [5, 6, 4]
  assert other.num_tokens(["A red coat", "red " * 9]).tolist() == [5, 11]
  assert other([]).shape == (0, 77)


def test_captions_are_cleaned_in_the_same_way_for_a_tokenizer_folder(folder):
  other = tokenizer.load_tokenizer(str(folder))
  np.testing.assert_array_equal(other(["itâ€™s &amp;"]), other(["it's &"]))


def test_clip_s_vocabulary_read_from_a_folder_gives_the_same_ids(tmp_path):
  vocabularies.make_tokenizer(tmp_path / "clip", vocabularies.merges_of_clip())
  own, read = tokenizer.load_tokenizer(""), tokenizer.load_tokenizer(str(tmp_path / "clip"))
  assert (read.vocabulary_size, read.end_token) == (own.vocabulary_size, own.end_token)
  # transformers' pattern is case-sensitive, so it does not match 'ſ.
  captions = [c["text"] for c in GOLDEN["captions"] if "'ſ" not in c["text"]]
  assert len(captions) == len(GOLDEN["captions"]) - 1
  np.testing.assert_array_equal(read(captions), own(captions))


def test_digests_depend_on_the_vocabulary_and_not_on_the_folder(tmp_path):
  for name, merges in (("one", ["a t</w>", "r e"]), ("other", ["r e", "a t</w>"])):
    vocabularies.make_tokenizer(tmp_path / name, merges)
  shutil.copytree(tmp_path / "one", tmp_path / "copy")
  one, copy, other = (tokenizer.load_tokenizer(str(tmp_path / name)).digest for name in ("one", "copy", "other"))
  assert one == copy
  assert len({one, other, tokenizer.load_tokenizer("").digest}) == 3


def test_a_cached_hub_id_needs_no_network(folder, tmp_path, monkeypatch):
  repository = tmp_path / "hub" / "models--some--words"
  (repository / "refs").mkdir(parents=True)
  (repository / "refs" / "main").write_text("f" * 40)
  shutil.copytree(folder, repository / "snapshots" / ("f" * 40))
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
  requests = []
  monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: requests.append(address))
  named, direct = tokenizer.load_tokenizer("some/words"), tokenizer.load_tokenizer(str(folder))
  assert requests == []
  assert named.name == "some/words"
  np.testing.assert_array_equal(named(["red coat"]), direct(["red coat"]))


def test_a_hub_id_without_network_raises_one_line_without_retries(tmp_path):
  # In another process, because the Hub's client reads its address only once. Nothing listens on port 9.
  script = """
import time
import huggingface_hub.hf_api
from tireid_jax.data import tokenizer
began = time.monotonic()
try:
  tokenizer.load_tokenizer("some/words")
except FileNotFoundError as error:
  print(time.monotonic() - began, error, sep="\\n", end="")
"""
  environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
  done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
  seconds, *lines = done.stdout.split("\n")
  assert float(seconds) < 15  # the Hub's own functions take 23 s or more
  assert len(lines) == 1
  assert "no folder some/words, and the Hugging Face hub gives no tokenizer some/words (ConnectError: " in lines[0]


@pytest.mark.parametrize(
  ("reason", "reported"), [("not found\n\nSign in.", "OSError: not found"), ("", "OSError: no reason")]
)
def test_only_the_first_line_of_an_error_of_the_hub_is_reported(tmp_path, monkeypatch, reason, reported):
  def fail():
    raise OSError(reason)

  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
  monkeypatch.setattr(huggingface_hub, "HfApi", fail)
  with pytest.raises(FileNotFoundError, match=rf"^there is no folder some/words, .*\({reported}.*\); check [^\n]*$"):
    tokenizer.load_tokenizer("some/words")


def test_the_timeout_of_the_hub_comes_from_its_environment_variable(tmp_path, monkeypatch):
  requests = []

  class SlowHub:
    def model_info(self, name, timeout):
      requests.append((name, timeout))
      raise TimeoutError

  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 7)
  monkeypatch.setattr(huggingface_hub, "HfApi", SlowHub)
  with pytest.raises(FileNotFoundError, match=r"\(TimeoutError: .*\); wait longer by HF_HUB_ETAG_TIMEOUT=SECONDS, or "):
    tokenizer.load_tokenizer("some/words")
  assert requests == [("some/words", 7)]


def test_a_gated_tokenizer_is_an_error_that_explains_how_to_get_access(tmp_path, monkeypatch):
  def fail():
    raise huggingface_hub.errors.GatedRepoError("403 Client Error", response=unittest.mock.MagicMock())

  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
  monkeypatch.setattr(huggingface_hub, "HfApi", fail)
  with pytest.raises(
    ValueError, match=r"^the hub's some/words is gated: request access at \S+/some/words, then run hf"
  ):
    tokenizer.load_tokenizer("some/words")


@pytest.mark.parametrize(
  ("files", "kind", "message"),
  [
    ({}, FileNotFoundError, r"words holds no tokenizer\.json, nor vocab\.json with merges\.txt; give another folder"),
    ({"vocab.json": "{}"}, FileNotFoundError, "words holds no tokenizer"),
    ({"tokenizer.json": "{}"}, ValueError, "words holds no CLIP tokenizer .*; give another folder or id"),
    ({"vocab.json": "[", "merges.txt": ""}, ValueError, "words holds no CLIP tokenizer"),
    (
      {"vocab.json": '{"<|endoftext|>": 0, "<|startoftext|>": 1}', "merges.txt": ""},
      ValueError,
      "the end token has id 0, which is padding here",
    ),
  ],
)
def test_a_folder_without_a_valid_tokenizer_raises_one_line(tmp_path, files, kind, message):
  (tmp_path / "words").mkdir()
  for name, text in files.items():
    (tmp_path / "words" / name).write_text(text)
  with pytest.raises(kind, match=message) as error:
    tokenizer.load_tokenizer(str(tmp_path / "words"))
  assert "\n" not in str(error.value)


def test_the_words_of_a_vocabulary_are_whole_and_have_letters_only(tmp_path):
  words = tokenizer.load_tokenizer("").words()
  red, coat, cafe, *rest = tokenizer.tokenize(["red coat café !?"])[0, 1:].tolist()
  assert [words[token] for token in (red, coat, cafe)] == ["red", "coat", "café"]
  assert not {tokenizer.PADDING, 49406, 49407, rest[0]} & words.keys()
  vocabulary = vocabularies.make_tokenizer(tmp_path / "few")
  few = tokenizer.load_tokenizer(str(tmp_path / "few")).words()
  assert few[vocabulary["red</w>"]] == "red"
  assert few[vocabulary["coat</w>"]] == "coat"
  assert vocabulary["co"] not in few
