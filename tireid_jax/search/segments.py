"""Segments of an index: folders that are written once and never changed, with vectors and what they are of.

SEGMENT/vectors.npy   u16[n, E], the bits of bfloat16, or f32[n, E]; memory-mapped
SEGMENT/entries.npz   columns of the entries
"""

import functools
import os
import pathlib
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from tireid_jax.errors import UserError, first_line, naming
from tireid_jax.search.entries import Entry, seconds
from tireid_jax.storage import files

VECTORS_FILE, ENTRIES_FILE = "vectors.npy", "entries.npz"
DTYPES = {"bfloat16": (ml_dtypes.bfloat16, np.uint16), "float32": (np.float32, np.float32)}


class Table:
  """The entries of a segment as columns, which are read from disk when they are first used."""

  def __init__(
    self, archive: "np.lib.npyio.NpzFile | dict[str, np.ndarray]", length: int, folder: pathlib.Path | None = None
  ) -> None:
    """`folder` is the segment that the archive is in, for messages."""
    self._archive, self._length, self._folder = archive, length, folder
    self._columns: dict[str, np.ndarray] = {}

  def __len__(self) -> int:
    return self._length

  def column(self, name: str) -> np.ndarray:
    """Returns an array of `pack`; raises UserError if it is damaged."""
    if name not in self._columns:
      try:
        self._columns[name] = self._archive[name]
      except Exception as error:  # numpy and zipfile raise errors of many types for damaged files
        raise _damaged(self._folder, error) from error
    return self._columns[name]

  @property
  def camera_codes(self) -> np.ndarray:
    """i32[n] index in `cameras`."""
    return self.column("camera_codes")

  @property
  def cameras(self) -> list[str]:
    """The distinct cameras."""
    return [self._text("camera", i) for i in range(len(self.column("camera_ends")))]

  @property
  def seconds(self) -> np.ndarray:
    """f64[n] of `entries.seconds`, NaN where unknown."""
    return self.column("seconds")

  @functools.cached_property
  def folders(self) -> tuple[list[str], np.ndarray]:
    """(The distinct folders of the paths, sorted, as "a/b/" or "", and i32[n] index in them); found on first use."""
    paths, ends = self.column("path_bytes").tobytes(), self.column("path_ends").tolist()
    each = [paths[start : paths.rfind(b"/", start, end) + 1] for start, end in zip([0, *ends], ends, strict=False)]
    names = {folder: folder.decode("utf-8", "surrogateescape") for folder in set(each)}
    codes = {folder: code for code, folder in enumerate(sorted(names, key=names.__getitem__))}
    return sorted(names.values()), np.array([codes[folder] for folder in each], np.int32)

  def entry(self, i: int) -> Entry:
    """Returns an entry."""
    box = self.column("boxes")[i]
    return Entry(
      self._text("path", i), int(self.column("sizes")[i]), int(self.column("mtimes")[i]),
      None if box[2] == 0 else tuple(box.tolist()),
      self._text("camera", self.camera_codes[i]), self._text("time", i),
    )  # fmt: skip

  def _text(self, name, i):
    ends = self.column(f"{name}_ends")
    start = ends[i - 1] if i else 0
    return self.column(f"{name}_bytes")[start : ends[i]].tobytes().decode("utf-8", "surrogateescape")


def pack(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
  """Returns entries as the arrays of a Table: text as bytes with the end of each, a box of width 0 for none."""
  cameras = sorted({entry.camera for entry in entries})
  codes = {name: code for code, name in enumerate(cameras)}
  columns: dict[str, np.ndarray] = {
    "sizes": np.array([entry.size for entry in entries], np.int64),
    "mtimes": np.array([entry.mtime_ns for entry in entries], np.int64),
    "boxes": np.array([entry.box or (0, 0, 0, 0) for entry in entries], np.int32).reshape(-1, 4),
    "camera_codes": np.array([codes[entry.camera] for entry in entries], np.int32),
    "seconds": np.array([seconds(entry.time) if entry.time else np.nan for entry in entries]),
  }
  texts = {"path": [entry.path for entry in entries], "time": [entry.time for entry in entries], "camera": cameras}
  for name, values in texts.items():
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    columns[f"{name}_ends"] = np.cumsum([len(value) for value in encoded], dtype=np.int64)
    columns[f"{name}_bytes"] = np.frombuffer(b"".join(encoded), np.uint8)
  return columns


def write(folder: pathlib.Path, vectors: np.ndarray, entries: Sequence[Entry]) -> None:
  """Writes a segment, atomically: the folder is complete or absent.

  Args:
    folder: of the segment.
    vectors: bfloat16[n, E] or f32[n, E], a value of DTYPES.
    entries: of each vector.
  """
  stored = next(stored for dtype, stored in DTYPES.values() if vectors.dtype == dtype)
  bits = np.ascontiguousarray(vectors).view(stored)
  with naming(folder), files.new_folder(folder) as temporary:
    with (temporary / VECTORS_FILE).open("wb") as file:
      # np.save reports a full disk without an errno. The header's length is a multiple of 64 bytes, so the data are
      # aligned as JAX needs them to use the mapped file without a copy.
      np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(bits))
      file.write(bits.data)
      _sync(file)
    with (temporary / ENTRIES_FILE).open("wb") as file:
      np.savez(file, **pack(entries))  # type: ignore[arg-type]
      _sync(file)


def _sync(file):
  file.flush()
  os.fsync(file.fileno())


def read(folder: pathlib.Path, rows: int, embedding_size: int, dtype: str) -> tuple[np.ndarray, Table]:
  """Returns (memory-mapped vectors [n, E], Table) of a segment.

  Raises:
    FileNotFoundError: it is not there.
    UserError: it is damaged.
  """
  wanted, stored = DTYPES[dtype]
  try:
    mapped = np.load(folder / VECTORS_FILE, mmap_mode="r")
    if mapped.shape != (rows, embedding_size) or mapped.dtype != stored:
      raise ValueError(f"{VECTORS_FILE} is {mapped.dtype}{list(mapped.shape)}, not {[rows, embedding_size]}")
    return mapped.view(wanted), Table(np.load(folder / ENTRIES_FILE), rows, folder)
  except FileNotFoundError:
    raise
  except Exception as error:  # numpy and zipfile raise errors of many types for damaged files
    raise _damaged(folder, error) from error


def _damaged(folder, error):
  return UserError(f"{folder} is damaged ({first_line(error)}); delete the index and make it again")
