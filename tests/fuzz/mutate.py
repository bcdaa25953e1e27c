"""Changes bytes as damage and other tools do: flips, cuts, repeats, and tokens and numbers of the format in between."""

import re

# Numbers at the ends of ranges, and what tools write where a value is missing or of another type.
_NUMBERS = (b"-1", b"0", b"1e308", b"2147483648", b"9223372036854775808", b"1" * 30, b"NaN", b"-Infinity", b"0.5")
_VALUES = (
  *_NUMBERS, b"null", b"true", b"[]", b"{}", b'""', b"\xff", b"\0", b"\\ud800", b"\xed\xa0\x80", b"\n", b"\xef\xbb\xbf",
)  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
# So much an input may grow to by repetition, to find what takes quadratic time or memory.
MAX_BYTES = 2**16


def mutate(data, draw, pool, tokens=()):
  """Returns changed bytes.

  Args:
    data: bytes.
    draw: random.Random.
    pool: other inputs, to take pieces from.
    tokens: bytes that mean something in the format.
  """
  most = max(MAX_BYTES, len(data))
  for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
    data = draw.choice(_CHANGES)(data, draw, pool, tokens)[:most]
  return data


def _span(data, draw):
  start = draw.randint(0, len(data))
  return start, min(len(data), start + draw.choice((1, 2, 4, 16, 64, 256)))


def _flip(data, draw, pool, tokens):
  if not data:
    return data
  place = draw.randrange(len(data))
  return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def _overwrite(data, draw, pool, tokens):
  start, end = _span(data, draw)
  return data[:start] + draw.randbytes(end - start) + data[end:]


def _delete(data, draw, pool, tokens):
  start, end = _span(data, draw)
  return data[:start] + data[end:]


def _cut(data, draw, pool, tokens):
  return data[: draw.randint(0, len(data))]


def _repeat(data, draw, pool, tokens):
  start, end = _span(data, draw)
  return data[:end] + data[start:end] * draw.choice((1, 1, 2, 10, 1000)) + data[end:]


def _insert(data, draw, pool, tokens):
  start, end = _span(data, draw)
  return data[:start] + draw.choice((*_VALUES, *tokens)) + data[draw.choice((start, end)) :]


def _number(data, draw, pool, tokens):
  found = list(_NUMBER.finditer(data))
  if not found:
    return data
  start, end = draw.choice(found).span()
  return data[:start] + draw.choice(_VALUES) + data[end:]


def _splice(data, draw, pool, tokens):
  other = draw.choice(pool)
  start, end = _span(other, draw)
  place = draw.randint(0, len(data))
  return draw.choice((data[:place] + other[start:], data[:place] + other[start:end] + data[place:]))


_CHANGES = (_flip, _overwrite, _delete, _cut, _repeat, _insert, _insert, _number, _number, _splice)
