"""Entries and filters as Milvus stores and reads them."""

import hashlib
import re
from typing import Any

import numpy as np

from tireid_jax.search.entries import Entry, seconds
from tireid_jax.search.where import Where

KEY, VECTOR = "id", "vector"
# What is read back of an entry; `seconds` only serves filters.
COLUMNS = ("path", "size", "mtime_ns", "box", "camera", "time")
# Bytes of a text, the most that Milvus stores.
_MAX_LENGTH = 65_535
_DIGEST_BYTES = 16
_SURROGATE = re.compile(r"\\(?:\\|u(dc[89a-f][0-9a-f]))")


def add_fields(schema: Any, types: Any, embedding_size: int) -> None:
  """Adds the fields of an entry to a pymilvus.CollectionSchema.

  Args:
    schema: to change.
    types: pymilvus.DataType.
    embedding_size: E.
  """
  schema.add_field(KEY, types.VARCHAR, is_primary=True, max_length=2 * _DIGEST_BYTES)
  schema.add_field(VECTOR, types.FLOAT_VECTOR, dim=embedding_size)
  for name in ("path", "box", "camera", "time"):
    schema.add_field(name, types.VARCHAR, max_length=_MAX_LENGTH)
  for name in ("size", "mtime_ns"):
    schema.add_field(name, types.INT64)
  schema.add_field("seconds", types.DOUBLE, nullable=True)  # null where the time is unknown


def id_of(key: str) -> str:
  """Returns the primary key of an entry: a digest of its key, which may be longer than a primary key may be."""
  return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=_DIGEST_BYTES).hexdigest()


def to_row(vector: np.ndarray, entry: Entry) -> dict[str, Any]:
  """Returns an entry and its vector f32[E] as the values of the fields."""
  return {
    KEY: id_of(entry.key), VECTOR: vector, "path": _to_text(entry.path), "size": entry.size,
    "mtime_ns": entry.mtime_ns, "box": ",".join(map(str, entry.box or ())), "camera": _to_text(entry.camera),
    "time": _to_text(entry.time), "seconds": seconds(entry.time) if entry.time else None,
  }  # fmt: skip


def to_entry(row: Any) -> Entry:
  """Returns the Entry of the values of COLUMNS."""
  box = None
  if row["box"]:
    x, y, w, h = map(int, row["box"].split(","))
    box = (x, y, w, h)
  return Entry(
    _from_text(row["path"]), row["size"], row["mtime_ns"], box, _from_text(row["camera"]), _from_text(row["time"])
  )


def to_filter(where: Where | None) -> str:
  """Returns a boolean expression of Milvus that holds for the entries that `where` accepts; "" for all."""
  if not where:
    return ""
  terms = []
  if where.cameras:
    terms.append(f"camera in [{', '.join(map(_literal, where.cameras))}]")
  if where.start:
    terms.append(f"seconds >= {seconds(where.start)!r}")
  if where.end:
    terms.append(f"seconds <= {seconds(where.end)!r}")
  if where.folders:
    # All paths that begin with "a/" and no others are from "a/" to before "a0": 0 comes after / in ASCII and Unicode.
    names = [folder.strip("/") for folder in where.folders]
    below = [f"(path >= {_literal(f'{name}/')} and path < {_literal(f'{name}0')})" for name in names]
    terms.append(f"({' or '.join(below)})")
  return " and ".join(terms)


def _literal(text):
  escaped = _to_text(text).replace("\\", "\\\\").replace('"', '\\"')
  return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _to_text(text):
  r"""Returns text that is valid Unicode: \udcXX for a byte of a file name that is not UTF-8, and \\ for \."""
  return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()


def _from_text(text):
  return _SURROGATE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "\\", text)
