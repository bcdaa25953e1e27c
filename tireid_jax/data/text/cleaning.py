"""Captions as CLIP's tokenizer reads them: encoding repaired, HTML unescaped, white space collapsed, lower case.

ftfy is skipped for captions, and parts of captions, that it would not change, and tests compare each of these short
cuts with ftfy on the whole caption. Measured on one CPU core, busy, with 40,000 captions of 26 words of which 2% had a
curly quote: this cleans 255,000 captions/s, and tokenizing them takes 54,000 captions/s all in all; with `fix_text` on
every caption it is 8,500 and 7,700. `prepare` tokenizes each caption three times, so that the 80,440 captions of
CUHK-PEDES would take 31 s instead of 4.5 s.
"""

import html
import re

import ftfy
from ftfy import fixes

# Runs of characters that ftfy or unescaping could change: all but white space and printable ASCII except "&".
_SPECIAL = re.compile(r"[^\t\n\f -%'-~]+")

# Latin letters and signs that ftfy does not change, and quotes that it straightens, if each is alone within ASCII. It
# detects wrongly decoded text by pairs of such characters, or by one of Â, Ã, Œ, œ near a space; the last three of the
# excluded letters it expands to two letters.
_QUOTES = frozenset("‘’‚‛“”„‟")
_UNCHANGED = frozenset(map(chr, range(0xA0, 0x180))) - set("ÂÃŒœĲĳŉ") | set("–—―•…™")
_QUOTES_ONLY = _UNCHANGED | _QUOTES

# ASCII characters to the left and right of a special run: at least those that ftfy reads to detect and repair it.
_MARGIN = 16
_SPACE = re.compile(r"[\t\n\f ]")


def clean(caption: str) -> str:
  """Returns the caption with encoding errors repaired, HTML unescaped, white space collapsed, in lower case."""
  is_printable = caption.isprintable()  # then " " is the only white space
  if not (is_printable and caption.isascii() and "&" not in caption) and not is_plain(caption):
    caption = _repair(caption)
    is_printable = caption.isprintable()
  if "  " in caption or not is_printable:
    caption = " ".join(caption.split())
  return caption.strip().lower()


def is_plain(caption: str) -> bool:
  """Whether repairing and unescaping certainly do not change the caption."""
  if caption.isascii() and caption.isprintable():
    return "&" not in caption
  return _UNCHANGED.issuperset(_SPECIAL.findall(caption))


def _has_quotes_only(text):
  """Whether straightening quotes is all that ftfy could change in the text."""
  return _QUOTES_ONLY.issuperset(_SPECIAL.findall(text))


def _repair(caption):
  """Returns a caption that is not plain after ftfy and then, as in OpenAI's tokenizer, unescaping twice."""
  if _has_quotes_only(caption):
    return fixes.uncurl_quotes(caption)
  start, end = 0, len(caption)
  if "<" not in caption:  # after "<", ftfy unescapes nothing in this line and the following ones
    special = list(_SPECIAL.finditer(caption))
    start = max(0, special[0].start() - _MARGIN)
    # Up to a space, which neither an HTML entity nor a terminal's escape sequence contains.
    space = _SPACE.search(caption, special[-1].end() + _MARGIN)
    end = space.start() if space else end
  return caption[:start] + _repair_part(caption[start:end]) + caption[end:]


def _repair_part(text):
  if "&" not in text and "\n" not in text:
    # The first step of fix_text for a line without entities, and mostly the only one that changes anything.
    text = ftfy.fix_encoding(text)
    if _has_quotes_only(text):
      return fixes.uncurl_quotes(text)
  return html.unescape(html.unescape(ftfy.fix_text(text)))
