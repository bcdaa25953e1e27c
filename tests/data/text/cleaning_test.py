"""Cleaning of captions, whose shortcuts are compared with ftfy applied to the whole caption."""

import html
import re

import ftfy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tireid_jax.data.text import cleaning

# Text that ftfy repairs, or could take for broken, and context that influences it; combined with the gaps below.
UNUSUAL = [
  "â€™", "â€œ", "Ã©", "Ã ", "Ã quilo", "Â ", " Â x", "à", "ãƒ„", "Ãƒâ€šÃ‚Â", "Ð¿Ñ€", "вЂ", "√±", "œ", "Œ.", "Ã?",
  "&", "& ", "&amp;", "&amp;amp;lt;", "&#x2019;", "&#60;", "&ltx", "&EACUTE;", "<", "<b>", "＆", "amp;", "；", "\ufffd",
  "\x92", "\x1b[31m", "\x1b[", "31m", "\r\n", "\r", "\n", "\t", "\f", "\x0b", "\x00", "\x7f", "\u2028", "\x85",
  "’", "“", "”", "‚", "é", "È", "ß", "ø", "€", "£", "°", "²", "×", "…", "—", "\xa0", "™", "®", "«", "¡",
  "\ufeff", "e\u0301", "\u0301", "ﬁ", "ĳ", "ŉ", "ſ", "Ｌ", "\u3000", "上", "😀", "\ud83d", "\udca9", "İ",
]  # fmt: skip
GAPS = ["", " ", "   ", "a", "A", "s ", "?", ".", ";", "it's ", "x" * 40, "a woman in a red coat ", " " * 9 + "y " * 9]
PIECES = st.lists(st.sampled_from(UNUSUAL) | st.sampled_from(GAPS), max_size=9).map("".join)


def repaired_whole(text):
  """Returns the whole text, repaired by ftfy and unescaped twice, without shortcuts."""
  return html.unescape(html.unescape(ftfy.fix_text(text)))


def cleaned_whole(text):
  return re.sub(r"\s+", " ", repaired_whole(text)).strip().lower()


@settings(deadline=None)
@given(PIECES | st.text(st.characters(min_codepoint=0, max_codepoint=0x2FF)) | st.text())
# Context to the left of an unusual letter; an entity longer than the margin; a "<" far before an entity, which prevents
# ftfy from unescaping that entity.
@example("a woman and a Ã ")
@example("a woman, &" + "amp;" * 9 + "quot; x")
@example("<b> a woman in a red coat, &amp;amp;amp; x")
def test_shortcuts_do_not_change_the_result(text):
  assert cleaning.clean(text) == cleaned_whole(text)


@settings(deadline=None)
@given(PIECES | st.text(st.characters(min_codepoint=0, max_codepoint=0x17F)))
def test_repairing_and_unescaping_do_not_change_plain_text(text):
  if cleaning.is_plain(text):
    assert repaired_whole(text) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&")))
def test_printable_ascii_without_ampersands_is_plain(text):
  assert cleaning.is_plain(text)


@pytest.mark.parametrize("between", [*"aZ0 .,?!'\"-(;<", "a ", " a", ". ", "\n"])
def test_ftfy_only_straightens_quotes_between_any_two_of_the_characters_that_need_no_other_repair(between):
  characters = sorted(cleaning._QUOTES_ONLY)
  text = "".join(one + between + other + between for one in characters for other in characters)
  straight = str.maketrans(dict.fromkeys("‘’‚‛", "'") | dict.fromkeys("“”„‟", '"'))
  assert ftfy.fix_text(text) == text.translate(straight)


def test_accents_and_dashes_in_english_are_plain():
  assert cleaning.is_plain("A naïve woman — in a café-coloured coat, 20° off, by Ångström…")


@pytest.mark.parametrize(
  ("text", "cleaned"),
  [
    ("  A Man\n\tin\xa0RED ", "a man in red"),
    ("It’s “red”", 'it\'s "red"'),
    ("a&nbsp;man", "a man"),
    ("the man, walking to the left, says itâ€™s red and holds a very long umbrella", None),
    ("voilÃ  le travail", "voilà le travail"),
    ("<b> a &amp;amp; b &amp;amp;amp; c", "<b> a & b &amp; c"),  # "<" keeps ftfy from unescaping
  ],
)
def test_captions_are_repaired_unescaped_collapsed_and_lower_cased(text, cleaned):
  assert cleaning.clean(text) == (cleaned or text.replace("â€™", "'"))
