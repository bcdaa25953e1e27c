"""Captions as CLIP's tokenizer reads them: encoding repaired, HTML unescaped, white space collapsed, lower case.

ftfy takes many times as long as the tokenizer itself, so it is kept from captions, and from parts of captions, that it
would leave as they are. Tests hold each of these short cuts against ftfy on the whole caption.
"""

import html
import re

import ftfy
from ftfy import fixes

# Runs of whatever ftfy or unescaping could change: all but printable ASCII without "&", and white space.
_ODD = re.compile(r"[^\t\n\f -%'-~]+")

# Latin letters and signs that ftfy leaves as they are, and quotes that it straightens, where each stands alone in
# ASCII. It takes text for wrongly decoded by pairs of such characters, or by one of Â, Ã, Œ, œ near a space; the last
# three of those left out it writes in two letters.
_QUOTES = frozenset("‘’‚‛“”„‟")
_UNCHANGED = frozenset(map(chr, range(0xA0, 0x180))) - set("ÂÃŒœĲĳŉ") | set("–—―•…™")
_CALM = _UNCHANGED | _QUOTES

# Characters of ASCII to the left and right of an odd run that ftfy reads to judge and repair it, and some more.
_MARGIN = 16
_SPACE = re.compile(r"[\t\n\f ]")


def clean(caption):
  """Returns the caption with its encoding repaired, HTML unescaped, white space collapsed, in lower case."""
  is_printable = caption.isprintable()  # in which case " " is the only white space
  if not (is_printable and caption.isascii() and "&" not in caption) and not is_plain(caption):
    caption = _repair(caption)
    is_printable = caption.isprintable()
  if "  " in caption or not is_printable:
    caption = " ".join(caption.split())
  return caption.strip().lower()


def is_plain(caption):
  """Tells captions that repairing and unescaping leave as they are."""
  if caption.isascii() and caption.isprintable():
    return "&" not in caption
  return _UNCHANGED.issuperset(_ODD.findall(caption))


def _is_calm(text):
  """Tells text in which ftfy would but straighten quotes."""
  return _CALM.issuperset(_ODD.findall(text))


def _repair(caption):
  """Returns what ftfy and then unescaping twice, as OpenAI's tokenizer does, make of a caption that is not plain."""
  if _is_calm(caption):
    return fixes.uncurl_quotes(caption)
  start, end = 0, len(caption)
  if "<" not in caption:  # with it, ftfy unescapes nothing in this line and those after it
    odd = list(_ODD.finditer(caption))
    start = max(0, odd[0].start() - _MARGIN)
    # Up to a space: what may reach further, an HTML entity or a terminal's escape sequence, holds none.
    space = _SPACE.search(caption, odd[-1].end() + _MARGIN)
    end = space.start() if space else end
  return caption[:start] + _repair_part(caption[start:end]) + caption[end:]


def _repair_part(text):
  if "&" not in text and "\n" not in text:
    # What fix_text does first to a line without entities, and mostly all that there is to do.
    text = ftfy.fix_encoding(text)
    if _is_calm(text):
      return fixes.uncurl_quotes(text)
  return html.unescape(html.unescape(ftfy.fix_text(text)))
