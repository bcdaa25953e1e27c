"""Changes bytes as damage or other tools do: flips, cuts, repetitions, inserted tokens and numbers of the format."""

import re

# Extreme numbers, and values that tools write for missing data or data of another type.
_NUMBERS = (b"-1", b"0", b"1e308", b"2147483648", b"9223372036854775808", b"1" * 30, b"NaN", b"-Infinity", b"0.5")
_VALUES = (
  *_NUMBERS, b"null", b"true", b"[]", b"{}", b'""', b"\xff", b"\0", b"\\ud800", b"\xed\xa0\x80", b"\n", b"\xef\xbb\xbf",
)  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
# The limit to which repetition may extend an input, to find code that takes quadratic time or memory.
MAX_BYTES = 2**16


def mutate(data, rng, pool, tokens=()):
  """Returns changed bytes.

  Args:
    data: bytes.
    rng: random.Random.
    pool: other inputs, pieces of which are inserted.
    tokens: bytes with a meaning in the format.
  """
  limit = max(MAX_BYTES, len(data))
  for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
    data = rng.choice(_CHANGES)(data, rng, pool, tokens)[:limit]
  return data


def _span(data, rng):
  start = rng.randint(0, len(data))
  return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64, 256)))


def _flip(data, rng, pool, tokens):
  if not data:
    return data
  position = rng.randrange(len(data))
  return data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :]


def _overwrite(data, rng, pool, tokens):
  start, end = _span(data, rng)
  return data[:start] + rng.randbytes(end - start) + data[end:]


def _delete(data, rng, pool, tokens):
  start, end = _span(data, rng)
  return data[:start] + data[end:]


def _cut(data, rng, pool, tokens):
  return data[: rng.randint(0, len(data))]


def _repeat(data, rng, pool, tokens):
  start, end = _span(data, rng)
  return data[:end] + data[start:end] * rng.choice((1, 1, 2, 10, 1000)) + data[end:]


def _insert(data, rng, pool, tokens):
  start, end = _span(data, rng)
  return data[:start] + rng.choice((*_VALUES, *tokens)) + data[rng.choice((start, end)) :]


def _number(data, rng, pool, tokens):
  found = list(_NUMBER.finditer(data))
  if not found:
    return data
  start, end = rng.choice(found).span()
  return data[:start] + rng.choice(_VALUES) + data[end:]


def _splice(data, rng, pool, tokens):
  other = rng.choice(pool)
  start, end = _span(other, rng)
  position = rng.randint(0, len(data))
  return rng.choice((data[:position] + other[start:], data[:position] + other[start:end] + data[position:]))


_CHANGES = (_flip, _overwrite, _delete, _cut, _repeat, _insert, _insert, _number, _number, _splice)
