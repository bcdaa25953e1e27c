"""What a cell of an annotation file means where another tool has written it: pandas, NumPy, a database, JavaScript."""

import ast
import json
import math
import re

from tireid_jax.errors import UserError

# How tools write a value that is not there; pandas reads all of these so.
MISSING = frozenset(("", "nan", "NaN", "None", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT"))

# A string literal of Python or JSON.
_LITERAL = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# Lists of literals between commas (Python, JSON, PostgreSQL), or between spaces (NumPy).
_LIST = re.compile(rf"\s*(?:{_LITERAL})(?:\s*,\s*(?:{_LITERAL})|\s+(?:{_LITERAL}))*\s*,?\s*", re.DOTALL)
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((.*?)(?:,\s*dtype=[\w.<>']+)?\)", re.DOTALL)
_BRACKETS = {"[": "]", "{": "}"}


def is_missing(value):
  """Whether a value of JSON or a table stands for none: null, NaN, or a text of `MISSING`."""
  if isinstance(value, float):
    return math.isnan(value)
  return value is None or (isinstance(value, str) and value.strip() in MISSING)


def identity(value):
  """Returns an identity as text, "" for a missing one; 12, 12.0 and "12.0" are "12".

  pandas makes decimals of the whole numbers of a column that lacks one.
  """
  if is_missing(value):
    return ""
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  text = str(value).strip()
  return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def is_list(text):
  """Whether a text is a list that some tool has written as text; no caption begins and ends with brackets."""
  text = _unwrapped(text)
  if text[:1] == "(":
    return text[-1:] == ")" and _LIST.fullmatch(text[1:-1]) is not None
  return bool(text) and text[-1] == _BRACKETS.get(text[0])


def strings_of(text):
  """Returns the strings of a list that was written as text: f("['a', 'b']") -> ["a", "b"].

  Args:
    text: for which `is_list` holds.

  Raises:
    ValueError: it holds anything but quoted strings, so that it is not known where one ends.
  """
  text = _unwrapped(text)
  try:
    found = json.loads(text)
  except (ValueError, RecursionError):
    found = None
  if isinstance(found, list) and all(isinstance(item, str) for item in found):
    return found
  inside = text[1:-1]
  if not inside.strip():
    return []
  if not _LIST.fullmatch(inside):
    raise UserError("it holds more than quoted strings")
  try:
    return [ast.literal_eval(literal) for literal in re.findall(_LITERAL, inside, re.DOTALL)]
  except (ValueError, SyntaxError) as error:
    raise UserError("a string in it is not one of Python or JSON") from error


def _unwrapped(text):
  text = text.strip()
  wrapped = _ARRAY.fullmatch(text)
  return wrapped[1].strip() if wrapped else text
