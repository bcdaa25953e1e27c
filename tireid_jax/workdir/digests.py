"""Digests of a checkpoint's files: Orbax stores no checksum of array data, so damage on disk would go undetected.

They are in STAGE_FOLDER/digests/STEP.json, written once the checkpoint is committed. They cover files, not arrays,
because a resume on another mesh reads different slices of the arrays.
"""

import json
import os
import zlib
from collections.abc import Iterable

from tireid_jax.errors import naming
from tireid_jax.storage import files, gcs, locations
from tireid_jax.storage.locations import Path

FOLDER = "digests"
_CHUNK_BYTES = 2**22
# Result for a checkpoint that is still being written or was copied from other storage: there are no digests to compare.
UNKNOWN = None


def write(stage_folder: str | Path, step: int, checkpoint: Path, score: float) -> None:
  """Reads every file of a committed checkpoint and writes their digests.

  Args:
    stage_folder, step: identify the checkpoint.
    checkpoint: folder of the checkpoint.
    score: validation score, stored here as well.
  """
  data = json.dumps({"algorithm": _algorithm(checkpoint), "score": score, "files": _digests(checkpoint)}, indent=1)
  files.write_bytes(_file(stage_folder, step), data.encode())


def score(stage_folder: str | Path, step: int) -> float | None:
  """Returns the score stored with a step's digests; None if there is none or the digests are damaged."""
  return _read(_file(stage_folder, step))[0].get("score")


def forget(stage_folder: str | Path, steps: Iterable[int]) -> None:
  """Removes the digests of some steps, before their checkpoints are deleted or written again."""
  for step in steps:
    with naming(_file(stage_folder, step)):
      _file(stage_folder, step).unlink(missing_ok=True)


def known_steps(stage_folder: str | Path) -> list[int]:
  """Returns the steps that have digests, ascending."""
  folder = _file(stage_folder, 0).parent
  names = [path.stem for path in folder.iterdir()] if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


def fault(stage_folder: str | Path, step: int, checkpoint: Path) -> str | None:
  """Returns what is wrong with a checkpoint's files: "" for nothing, UNKNOWN without digests to compare with."""
  file = _file(stage_folder, step)
  written, wrong = _read(file)
  if wrong:
    return f"{file} is damaged itself: {wrong}"
  if written.get("algorithm") != _algorithm(checkpoint):
    return UNKNOWN
  found = _digests(checkpoint)
  for name, (size, digest) in written["files"].items():
    if name not in found:
      return f"{name} is missing"
    if found[name][0] != size:
      return f"{name} has {found[name][0]:,} bytes, not {size:,}"
    if found[name][1] != digest:
      return f"the content of {name} has changed"
  return ""


def _read(file):
  """Returns (content of a digest file, {} if there is none; what is wrong with it, "" for nothing)."""
  if not file.is_file():
    return {}, ""
  try:
    written = json.loads(file.read_text(encoding="utf-8"))
    if all(len(entry) == 2 for entry in written["files"].values()):
      return written, ""
    return {}, "it holds no digests"
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    return {}, str(error)


def _file(stage_folder, step):
  return locations.to_path(stage_folder) / FOLDER / f"{step}.json"


def _algorithm(checkpoint):
  # A bucket stores a digest of each object, verified at upload.
  return "crc32c" if locations.is_remote(checkpoint) else "crc32"


def _digests(checkpoint):
  """Returns {path below a checkpoint's folder: [bytes, digest]}."""
  if locations.is_remote(checkpoint):
    return gcs.object_digests(checkpoint)
  found = {}
  for folder, _, names in os.walk(checkpoint):
    for name in names:
      path = os.path.join(folder, name)
      found[os.path.relpath(path, checkpoint)] = [os.path.getsize(path), _crc32(path)]
  return dict(sorted(found.items()))


def _crc32(path):
  value = 0
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK_BYTES):
      value = zlib.crc32(chunk, value)
  return f"{value:08x}"
