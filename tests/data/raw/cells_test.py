"""Values as other tools write them: lists as text, missing values, identities converted to decimals."""

import ast
import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tireid_jax.data.raw import cells

CAPTIONS = ["A man's coat, red.", 'She says "hi"; walks.', "A line\nbreak and a \\ slash."]


@pytest.mark.parametrize(
  "text",
  [
    str(CAPTIONS),
    str(tuple(CAPTIONS)),
    json.dumps(CAPTIONS),
    f"  {json.dumps(CAPTIONS, indent=2)}\n",
    str(np.array(CAPTIONS, dtype=object)),
    repr(np.array(CAPTIONS, dtype=object)),
    repr(np.array(CAPTIONS)),
    "{" + ",".join(json.dumps(caption) for caption in CAPTIONS) + "}",  # PostgreSQL's text[]
  ],
)
def test_a_list_written_as_text_is_parsed(text):
  assert cells.is_list(text)
  assert cells.strings_of(text) == CAPTIONS


def test_lists_with_one_string_and_without_any_are_parsed():
  assert cells.strings_of("['A man.']") == ["A man."]
  assert cells.strings_of("('A man.',)") == ["A man."]
  assert cells.strings_of("[]") == []


@hypothesis.given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_any_list_of_strings_is_parsed(strings):
  for text in (str(strings), json.dumps(strings), json.dumps(strings, ensure_ascii=False)):
    assert cells.is_list(text)
    assert cells.strings_of(text) == strings


@pytest.mark.parametrize("text", ["[A man, a woman]", "['a', nan]", "['a', ['b']]", "{'a': 'b'}", "['\\N{x}']", "[1]"])
def test_a_list_that_contains_anything_but_quoted_strings_is_an_error(text):
  assert cells.is_list(text)
  with pytest.raises(ValueError, match=r"^it holds more|^a string in it"):
    cells.strings_of(text)


@pytest.mark.parametrize("end", range(1, 12))
def test_a_truncated_list_is_an_error(end):
  for text in (str(CAPTIONS), json.dumps(CAPTIONS), repr(np.array(CAPTIONS, dtype=object)), f"{str(CAPTIONS)[:-1]},  "):
    assert cells.is_list(text[:-end])
    with pytest.raises(ValueError, match=r"^it holds more|^its end is missing"):
      cells.strings_of(text[:-end])


@pytest.mark.parametrize(
  "text", ["[blurred] A man.", "A man (seen from behind)", "(a man in red)", "'A man.'", "", "]"]
)
def test_captions_with_brackets_or_quotes_are_not_lists(text):
  assert not cells.is_list(text)


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (12, "12"), (12.0, "12"), ("12", "12"), ("12.0", "12"), (" 12.00 ", "12"), (1e20, str(10**20)), (-1.0, "-1"),
    ("007", "007"), (1.5, "1.5"), ("1.5", "1.5"), ("v1.0", "v1.0"), ("anna", "anna"), ("Nan", "Nan"),
    (math.nan, ""), ("nan", ""), (None, ""), ("", ""), (" ", ""), ("NULL", ""), ("None", ""), ("<NA>", ""),
  ],
)  # fmt: skip
def test_different_spellings_of_an_identity_are_equal(value, text):
  assert cells.identity(value) == text


def test_escape_sequences_are_those_of_python_literals():
  text = r"""['\u00e9', "\x41", 'it\'s']"""
  assert cells.strings_of(text) == ast.literal_eval(text)
