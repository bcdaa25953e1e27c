"""The manifest of an index: its segments, and the model that made it. Replacing it is the last step of every change."""

import dataclasses
import pathlib
from typing import Any

from tireid_jax.errors import UserError, naming
from tireid_jax.search.encoders import Identity
from tireid_jax.storage import files, lock

FILE = "manifest.json"
_VERSION = 1
_REMEDY = "delete the index and make it again"


@dataclasses.dataclass(frozen=True)
class SegmentInfo:
  """A segment: its folder, its number of vectors, and which of them are removed, ascending."""

  name: str
  rows: int
  removed: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The state of an index.

  Attributes:
    model: {"source", "digest", "preprocessing"} of the encoders.Identity that made it.
    gallery: absolute folder that the entries' paths are relative to.
    dtype: of the vectors, a key of segments.DTYPES.
    embedding_size: E.
    next_segment: number of the next segment; never used twice.
    segments: in the order of their vectors.
  """

  model: dict[str, Any]
  gallery: str
  dtype: str
  embedding_size: int
  next_segment: int = 0
  segments: tuple[SegmentInfo, ...] = ()


def read(folder: pathlib.Path) -> Manifest | None:
  """Returns the manifest of an index; None if there is none.

  Raises:
    UserError: it is damaged, or of another version.
  """
  path = folder / FILE
  if not path.is_file():
    return None
  data = files.read_json(path, _REMEDY)
  if data.get("version") != _VERSION:
    raise UserError(f"{path} has version {data.get('version')!r}, and this program reads {_VERSION}; {_REMEDY}")
  try:
    segments = tuple(SegmentInfo(each["name"], each["rows"], tuple(each["removed"])) for each in data["segments"])
    fields = {name: value for name, value in data.items() if name not in ("version", "segments")}
    return Manifest(**fields, segments=segments)
  except (KeyError, TypeError) as error:
    raise UserError(f"{path} is damaged ({error}); {_REMEDY}") from error


def write(folder: pathlib.Path, manifest: Manifest) -> None:
  """Replaces the manifest of an index, atomically."""
  files.write_json(folder / FILE, {"version": _VERSION, **dataclasses.asdict(manifest)})


def open_or_new(
  folder: pathlib.Path, identity: Identity, gallery: pathlib.Path | None, dtype: str, embedding_size: int
) -> Manifest:
  """Returns the manifest of an index, or that of a new one for a folder that is missing or empty; writes nothing.

  Raises:
    UserError: another model, gallery or dtype made the index, it is damaged, or the folder holds other files.
  """
  with naming(folder):
    found = read(folder)
    left_by_writer = (lock.FILE, ".segment-", "segment-")
    if found is None and folder.exists() and any(not p.name.startswith(left_by_writer) for p in folder.iterdir()):
      raise UserError(f"--index={folder} holds other files and no index; give another folder")
  if found is not None:
    check_same(found, folder, identity, gallery, dtype)
    return found
  if gallery is None:
    raise UserError(f"--index={folder} holds no index; give --gallery=DIR, a folder of images, to make one")
  return Manifest(identity._asdict(), str(gallery), dtype or "bfloat16", embedding_size)


def check_same(
  found: Manifest, folder: str | pathlib.Path, identity: Identity, gallery: pathlib.Path | None, dtype: str
) -> None:
  """Raises UserError if another model, gallery or dtype made an index."""
  remedy = "give another --index, or delete this one to make it again"
  made: dict[str, Any] = found.model
  if made["digest"] != identity.digest:
    raise UserError(
      f"the index {folder} was made with another model, {made['source']}, not {identity.source}; {remedy}"
    )
  before, now = made["preprocessing"], identity.preprocessing
  wrong = [
    f"{name} was {before.get(name)}, is {now.get(name)}"
    for name in sorted({*before, *now})
    if before.get(name) != now.get(name)
  ]
  if wrong:
    raise UserError(f"the index {folder} was made with other preprocessing: {'; '.join(wrong)}; {remedy}")
  if dtype and dtype != found.dtype:
    raise UserError(f"the index {folder} holds {found.dtype}, not {dtype}; {remedy}")
  if gallery is not None and str(gallery) != found.gallery and pathlib.Path(found.gallery).is_dir():
    raise UserError(f"the index {folder} is of the gallery {found.gallery}, not of {gallery}; {remedy}")
