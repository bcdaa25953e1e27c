"""The tokenizer against ids computed by the reference implementation."""

import json
import pathlib

import ftfy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tireid_jax.data import tokenizer

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "testdata" / "tokenizer.json").read_text())
# The reference gives 49405 to a token of its own, <|mask|>; in OpenAI's vocabulary that id is the word "jekyll".
OF_THE_REFERENCE_ALONE = "<|mask|>"


def test_every_golden_caption_has_the_reference_s_ids():
  captions = [c for c in GOLDEN["captions"] if OF_THE_REFERENCE_ALONE not in c["text"].lower()]
  assert len(GOLDEN["captions"]) - len(captions) == 1
  expected = np.zeros((len(captions), 77), np.int32)
  for row, caption in zip(expected, captions, strict=True):
    row[: len(caption["padded"])] = caption["padded"]
  tokens = tokenizer.tokenize([c["text"] for c in captions])
  assert tokens.dtype == np.int32
  assert [c["text"] for c, same in zip(captions, (tokens == expected).all(axis=1), strict=True) if not same] == []


def test_the_last_word_of_openai_s_vocabulary_is_known():
  assert tokenizer.tokenize(["Dr Jekyll"])[0, :4].tolist() == [49406, 1701, 49405, 49407]


def test_num_tokens_counts_before_the_cut():
  captions = [c for c in GOLDEN["captions"] if c["kind"] != "special"]
  expected = [len(c["ids"]) + 2 for c in captions]
  assert max(expected) > 77
  assert tokenizer.num_tokens([c["text"] for c in captions]).tolist() == expected


def test_token_lengths_sees_the_end_past_an_id_of_0():
  # "!" inside a word has the id 0, as padding has.
  tokens = tokenizer.tokenize(["!<|startoftext|>", "a", "word " * 100])
  assert tokens[0, 1] == 0
  assert tokenizer.token_lengths(tokens).tolist() == [10, 3, 77]


@pytest.mark.parametrize("length", [2, 5, 16, 77])
def test_a_long_caption_is_cut_and_ends_with_the_end_token(length):
  whole = tokenizer.tokenize(["a b c d e f g h i j k l m n"], 77)[0]
  cut = tokenizer.tokenize(["a b c d e f g h i j k l m n"], length)[0]
  kept = min(length, 16) - 1
  assert cut[:kept].tolist() == whole[:kept].tolist()
  assert cut[kept] == tokenizer.END
  assert not cut[kept + 1 :].any()


@pytest.mark.parametrize(
  ("text", "ids"),
  [
    # Inside a run of punctuation the name of a special token is punctuation; after a letter or another name it is not.
    ("<|startoftext|><|endoftext|>", [49406, 49407]),
    ("a<|endoftext|>", [320, 49407]),
    ("(<|endoftext|>", tokenizer._encode("(<| endoftext |>")),
    ("it'ſ", [585, 6, 129, 379]),
    ("it 'ſ", [585, 6, 129, 379]),
  ],
)
def test_special_names_and_the_long_s_count_only_where_a_word_begins(text, ids):
  assert tokenizer.tokenize([text])[0, 1 : len(ids) + 1].tolist() == ids


def test_html_is_unescaped_twice_where_ftfy_leaves_it_for_the_tag():
  assert tokenizer.clean("<b> a &amp;amp; b &amp;amp;amp; c") == "<b> a & b &amp; c"


def test_one_string_instead_of_a_list_is_an_error():
  for function in (tokenizer.tokenize, tokenizer.num_tokens):
    with pytest.raises(ValueError, match="must be a list of strings, got the string 'a man'"):
      function("a man")


def test_a_length_without_room_for_both_ends_is_an_error():
  with pytest.raises(ValueError, match="length must be at least 2"):
    tokenizer.tokenize(["a man"], 1)


def test_no_captions_give_no_rows():
  assert tokenizer.tokenize([]).shape == (0, 77)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x2FF)) | st.text())
def test_repairing_is_skipped_only_where_it_changes_nothing(text):
  if tokenizer.is_plain(text):
    assert ftfy.fix_text(text) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&")))
def test_plain_captions_are_not_repaired_because_it_changes_nothing(text):
  assert tokenizer.is_plain(text)
  assert ftfy.fix_text(text) == text
