"""An index on disk: image embeddings and their entries, written by one process and read by any number.

INDEX/manifest.json    the segments in use (manifest.py); replaced atomically as the last step of each change
INDEX/segment-N/       vectors and entries (segments.py); never changed
INDEX/lock.json        while a process writes

A reader keeps the segments that it has opened, even while another process changes or compacts the index. A killed
writer loses what it added since its last segment; the next writer deletes files that the manifest does not list.
"""

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Iterable, Sequence

import numpy as np
from jax.sharding import Mesh

from tireid_jax.errors import UserError, naming
from tireid_jax.search import exact, manifest, segments, snapshot
from tireid_jax.search.encoders import Identity
from tireid_jax.search.entries import Entry
from tireid_jax.search.where import Where
from tireid_jax.storage import lock

# A segment is written once this many vectors have been added, or after this time.
SEGMENT_ROWS = exact.BLOCK_ROWS
SEGMENT_S = 60.0
# A commit merges segments that are not full if there are more than this; each of them is copied when it is opened.
_MAX_SMALL = 8


class Index:
  """The five methods of an index, `stamps`, `add`, `remove`, `commit` and `search`, on a local disk.

  The first `add` or `remove` acquires the lock; `commit` makes the changes durable and visible, and releases it.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    identity: Identity,
    gallery: pathlib.Path | None,
    embedding_size: int,
    mesh: Mesh,
    dtype: str = "",
  ) -> None:
    """Opens an index; a folder that is missing or empty is an empty index.

    Args:
      folder: of the index, on a disk.
      identity: of the model, which must have made the index.
      gallery: folder that the entries' paths are relative to; None for that of the index.
      embedding_size: E.
      mesh: devices that search.
      dtype: "bfloat16" or "float32"; "" for that of the index, or bfloat16 for a new one.

    Raises:
      UserError: another model, gallery or dtype made the index, it is damaged, or the folder holds other files.
    """
    self.folder, self._mesh = folder, mesh
    found = manifest.open_or_new(folder, identity, gallery, dtype, embedding_size)
    self._identity, self.moved_from = identity, ""
    if gallery is not None and found.gallery != str(gallery):
      self.moved_from, found = found.gallery, dataclasses.replace(found, gallery=str(gallery))
    self._lock: lock.Lock | None = None
    self._pending: list[tuple[np.ndarray, list[Entry]]] = []
    self._flushed_at = time.monotonic()
    self._rows_by_key: dict[str, tuple[int, int]] | None = None
    self._open(found)

  @property
  def location(self) -> str:
    """The folder, for messages."""
    return str(self.folder)

  @property
  def gallery(self) -> pathlib.Path:
    """The folder that paths are relative to."""
    return pathlib.Path(self._manifest.gallery)

  def __len__(self) -> int:
    return sum(info.rows - len(info.removed) for info in self._manifest.segments)

  def stamps(self) -> dict[str, Entry]:
    """Returns {key: Entry} of all entries."""
    return {entry.key: entry for _, _, entry in self._entries()}

  def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> None:
    """Adds vectors [n, E] of norm 1 with their entries, which replace entries of the same key.

    Raises:
      UserError: another process writes to the index, or the disk is full.
    """
    self._begin()
    wanted, _ = segments.DTYPES[self._manifest.dtype]
    self._pending.append((np.asarray(vectors).astype(wanted), list(entries)))
    num_pending = sum(len(each) for _, each in self._pending)
    if num_pending >= SEGMENT_ROWS or time.monotonic() - self._flushed_at > SEGMENT_S:
      self._flush()

  def remove(self, keys: Iterable[str]) -> None:
    """Removes entries; keys that are not there are ignored. Errors as of `add`."""
    keys = list(keys)
    self._begin()
    if keys:
      self._flush(removed=keys)

  def commit(self, *, compact: bool = False) -> None:
    """Writes the changes and releases the lock; `compact` also rewrites the index without removed entries."""
    if self._lock is None:
      if not compact:
        return
      self._begin()
    try:
      self._flush()
      small = [info for info in self._manifest.segments if info.rows < SEGMENT_ROWS]
      sparse = [info for info in self._manifest.segments if len(info.removed) > info.rows / 2]
      if compact and any(info.removed for info in self._manifest.segments):
        self._merge(self._manifest.segments)
      elif compact or len(small) > _MAX_SMALL or sparse:
        self._merge([info for info in self._manifest.segments if info in small or info in sparse])
    finally:
      self.release()

  def release(self) -> None:
    """Releases the lock, and forgets what has not been written."""
    self._pending = []
    held, self._lock = self._lock, None
    if held is not None:
      held.release()

  def search(self, queries: np.ndarray, top: int, where: Where | None = None) -> list[list[tuple[float, Entry]]]:
    """Returns for each query [N, E] of norm 1 the `top` best (similarity, Entry), best first."""
    candidates = self._alive
    if where:
      candidates = candidates & np.concatenate([np.empty(0, bool), *(where.matches(table) for table in self._tables)])
    scores, rows = self._exact.search(queries, top, candidates)
    return [
      [(float(score), self._entry(int(row))) for score, row in zip(*each, strict=True)]
      for each in zip(scores, rows, strict=True)
    ]

  def _entry(self, row):
    segment = int(np.searchsorted(self._starts, row, side="right")) - 1
    return self._tables[segment].entry(row - int(self._starts[segment]))

  def _entries(self):
    """Yields (segment, row in it, Entry) of all entries that are not removed."""
    for number, (info, table) in enumerate(zip(self._manifest.segments, self._tables, strict=True)):
      removed = set(info.removed)
      for row in range(info.rows):
        if row not in removed:
          yield number, row, table.entry(row)

  def _open(self, found: manifest.Manifest) -> None:
    """Opens the segments of a manifest, or of its successor."""
    found, self._vectors, self._tables = snapshot.open_snapshot(self.folder, found)
    self._manifest = found
    self._starts = np.cumsum([0, *(info.rows for info in found.segments)])
    self._alive = np.ones(int(self._starts[-1]), bool)
    for start, info in zip(self._starts, found.segments, strict=False):
      self._alive[start + np.array(info.removed, np.int64)] = False
    dtype, _ = segments.DTYPES[found.dtype]
    self._exact = exact.Exact(self._vectors, found.embedding_size, np.dtype(dtype), self._mesh)
    self._rows_by_key = None

  def _begin(self):
    """Acquires the lock, reads what another process may have written meanwhile, and deletes unlisted segments."""
    if self._lock is not None:
      self._lock.check()
      return
    with naming(self.folder):
      self.folder.mkdir(parents=True, exist_ok=True)
    held = lock.Lock(self.folder, f"the index {self.folder}", "give another --index")
    while not held.acquire():
      pass
    self._lock, self._flushed_at = held, time.monotonic()
    try:
      self._read_again()
    except BaseException:
      self.release()
      raise
    self._delete_unused()

  def _read_again(self):
    """Reads what another process wrote since the index was opened; raises UserError if ours cannot be added to it."""
    current = manifest.read(self.folder)
    if current is None:
      if self._manifest.segments:
        raise UserError(f"the index {self.folder} was deleted while it was in use; open it again")
      return
    manifest.check_same(current, self.folder, self._identity, self.gallery, self._manifest.dtype)
    if current.segments != self._manifest.segments:
      self._open(dataclasses.replace(current, gallery=self._manifest.gallery))

  def _delete_unused(self):
    used = {info.name for info in self._manifest.segments}
    for path in self.folder.iterdir():
      if path.name.startswith((".segment-", "segment-")) and path.name not in used:
        shutil.rmtree(path, ignore_errors=True)

  def _flush(self, removed: Sequence[str] = ()):
    """Writes pending vectors as a segment, and the manifest; removes entries, also those that are replaced."""
    pending, self._pending = self._pending, []
    entries = [entry for _, part in pending for entry in part]
    last = {entry.key: i for i, entry in enumerate(entries)}  # of entries of one key, the last
    kept = sorted(last.values())
    gone = self._rows_of([*removed, *last])
    if not kept and not gone:
      return
    infos = [
      dataclasses.replace(info, removed=tuple(sorted({*info.removed, *gone.get(number, ())})))
      for number, info in enumerate(self._manifest.segments)
    ]
    number = self._manifest.next_segment
    if kept:
      name = f"segment-{number}"
      vectors = np.concatenate([part for part, _ in pending])[kept]
      segments.write(self.folder / name, vectors, [entries[i] for i in kept])
      infos.append(manifest.SegmentInfo(name, len(kept)))
      number += 1
    rows_by_key = self._rows_by_key or {}
    for key in (*removed, *last):
      rows_by_key.pop(key, None)
    rows_by_key.update((entries[i].key, (len(infos) - 1, row)) for row, i in enumerate(kept))
    self._replace(infos, number)
    # To read all entries again after each segment would make the time of a long `add` quadratic.
    self._rows_by_key = rows_by_key
    self._flushed_at = time.monotonic()

  def _replace(self, infos: Sequence[manifest.SegmentInfo], next_segment: int) -> None:
    assert self._lock is not None
    self._lock.check()
    changed = dataclasses.replace(self._manifest, segments=tuple(infos), next_segment=next_segment)
    with naming(self.folder):
      manifest.write(self.folder, changed)
    self.moved_from = ""
    self._open(changed)

  def _rows_of(self, keys: Iterable[str]) -> dict[int, set[int]]:
    """Returns {segment: rows in it} of the entries of these keys."""
    if self._rows_by_key is None:
      self._rows_by_key = {entry.key: (segment, row) for segment, row, entry in self._entries()}
    found: dict[int, set[int]] = {}
    for key in keys:
      if key in self._rows_by_key:
        segment, row = self._rows_by_key[key]
        found.setdefault(segment, set()).add(row)
    return found

  def _merge(self, chosen: Sequence[manifest.SegmentInfo]) -> None:
    """Replaces segments by full ones without their removed entries, then deletes them."""
    others = [info for info in self._manifest.segments if info not in chosen]
    numbers = [number for number, info in enumerate(self._manifest.segments) if info in chosen]
    rows = [(s, row) for s in numbers for row in np.flatnonzero(self._alive[self._starts[s] : self._starts[s + 1]])]
    number = self._manifest.next_segment
    for start in range(0, len(rows), SEGMENT_ROWS):
      part = rows[start : start + SEGMENT_ROWS]
      vectors = np.stack([self._vectors[segment][row] for segment, row in part])
      name = f"segment-{number}"
      segments.write(self.folder / name, vectors, [self._tables[segment].entry(int(row)) for segment, row in part])
      others.append(manifest.SegmentInfo(name, len(part)))
      number += 1
    self._replace(others, number)
    self._delete_unused()
