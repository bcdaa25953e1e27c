"""Interprets cells of annotation files as written by other tools: pandas, NumPy, databases, JavaScript."""

import ast
import json
import math
import re

from tireid_jax.errors import UserError

# How tools write a missing value; pandas reads all of these as missing.
MISSING = frozenset(("", "nan", "NaN", "None", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT"))

# A string literal of Python or JSON.
_LITERAL = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# Lists of literals between commas (Python, JSON, PostgreSQL), or between spaces (NumPy).
_LIST = re.compile(rf"\s*(?:{_LITERAL})(?:\s*,\s*(?:{_LITERAL})|\s+(?:{_LITERAL}))*\s*,?\s*", re.DOTALL)
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((.*?)(?:,\s*dtype=[\w.<>']+)?\)", re.DOTALL)
_BRACKETS = {"[": "]", "{": "}"}
# How a list begins whose end may be missing, as where a column of a database limits the length of its texts.
_BEGINNING = re.compile(r"""(?:(?:np\.|numpy\.)?array\()?[\[{]\s*['"]""")


def is_missing(value: object) -> bool:
  """Whether a value of JSON or a table is missing: null, NaN, or a text of `MISSING`."""
  if isinstance(value, float):
    return math.isnan(value)
  return value is None or (isinstance(value, str) and value.strip() in MISSING)


def identity(value: object) -> str:
  """Returns an identity as text, "" if missing; 12, 12.0 and "12.0" are "12".

  pandas converts a column of integers to floats if a value is missing.
  """
  if is_missing(value):
    return ""
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  text = str(value).strip()
  return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def is_list(text: str) -> bool:
  """Whether a text is a list that a tool has converted to text; its end may be cut off.

  No caption begins and ends with brackets, or begins with a bracket and a quotation mark.
  """
  text = _unwrapped(text)
  if text[:1] == "(":
    return text[-1:] == ")" and _LIST.fullmatch(text[1:-1]) is not None
  return bool(text) and (text[-1] == _BRACKETS.get(text[0]) or _BEGINNING.match(text) is not None)


def strings_of(text: str) -> list[str]:
  """Returns the strings of a list that was converted to text: f("['a', 'b']") -> ["a", "b"].

  Args:
    text: for which `is_list` holds.

  Raises:
    ValueError: it contains anything but quoted strings, so their ends are ambiguous, or its own end is cut off.
  """
  text = _unwrapped(text)
  try:
    found = json.loads(text)
  except (ValueError, RecursionError):
    found = None
  if isinstance(found, list) and all(isinstance(item, str) for item in found):
    return found
  if text[0] in _BRACKETS and text[-1] != _BRACKETS[text[0]]:
    raise UserError("its end is missing")
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
