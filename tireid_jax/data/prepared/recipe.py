"""The dataset.json of a prepared data set: how it was prepared and what it contains."""

import json

from tireid_jax.errors import UserError, naming

# Written last, so a folder without it is no prepared data set.
FILE = "dataset.json"

# What is read of it; other fields are for people, and differ between versions.
_FIELDS = {
  "name": str, "image_size": [int], "tokenizer": {"name": str, "vocabulary_size": int, "end_token": int},
  "counts": dict, "fingerprint": str, "source": str, "left_out": list,
}  # fmt: skip
_COUNTS = {"ids": int, "images": int, "captions": int}


def read(path):
  """Returns the JSON data of a dataset.json.

  Raises:
    ValueError: it is damaged: no JSON, or a field is missing, of another type, or unknown among counts.
  """
  with naming(path):
    content = path.read_bytes()
  try:
    info = json.loads(content)
    faults = _faults(info, _FIELDS) or [
      fault
      for split, counts in info["counts"].items()
      for fault in _faults(counts, _COUNTS, f"counts.{split}.") or _unknown(counts, f"counts.{split}.")
    ]
  except (ValueError, RecursionError) as error:
    faults = [str(error)]
  if faults:
    raise UserError(f"{path} is damaged ({faults[0]}); remove {path.parent} and prepare it again")
  return info


def _faults(data, fields, prefix=""):
  """Returns what is wrong with the fields of some JSON data."""
  if not isinstance(data, dict):
    return [f"{prefix.removesuffix('.') or 'it'} is no object"]
  faults = []
  for name, kind in fields.items():
    if name not in data:
      faults.append(f"{prefix}{name} is missing")
    elif isinstance(kind, dict):
      faults += _faults(data[name], kind, f"{prefix}{name}.")
    elif not _is_of(data[name], kind):
      faults.append(f"{prefix}{name} is {str(data[name])[:50]!r}")
  return faults


def _unknown(data, prefix):
  return [f"there is no field {prefix}{name}"[:80] for name in data if name not in _COUNTS]


def _is_of(value, kind):
  if isinstance(kind, list):
    return isinstance(value, list) and all(_is_of(item, kind[0]) for item in value)
  # Counts and sizes are never negative, and true is no number.
  return type(value) is int and value >= 0 if kind is int else isinstance(value, kind)
