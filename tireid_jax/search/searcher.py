"""Searcher: a model and an index; used by the command and the web page."""

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data.prepared import images
from tireid_jax.errors import UserError
from tireid_jax.search import encoders, opening
from tireid_jax.search import gallery as _gallery
from tireid_jax.search.entries import Entry
from tireid_jax.search.protocol import SearchIndex
from tireid_jax.search.query import Content, Query
from tireid_jax.search.results import Report, Result
from tireid_jax.search.where import Where
from tireid_jax.terminal.progress import bar

# Images that are encoded together.
_BATCH = encoders.BATCH_SIZES[-1]


class Searcher:
  """Searches an index by sentence and image; see the docstring of tireid_jax.search."""

  def __init__(self, model_encoders: encoders.Encoders, index: SearchIndex) -> None:
    self.encoders, self.index = model_encoders, index

  @classmethod
  def open(
    cls,
    *,
    workdir: str | os.PathLike = "",
    stage: str = "2",
    pretrained: str = "",
    config: ConfigDict | None = None,
    gallery: str | os.PathLike = "",
    index: str | os.PathLike = "",
    dtype: str = "",
  ) -> "Searcher":
    """Opens a model and an index, which may be new; encodes nothing.

    Args:
      workdir, stage, pretrained, config: the model, as of `encoders.open_encoders`.
      gallery: folder of images; "" for that of the index.
      index: folder of the index, or "milvus:URI" (see milvus_address.py); "" for `opening.default_folder`.
      dtype: of a new index, "bfloat16" (the default) or "float32", the only one in Milvus.

    Raises:
      UserError, MissingFileError: there is no such model or gallery, or another model made the index.
    """
    if not gallery and not index:
      raise UserError("give --gallery=DIR, a folder of images, or --index=DIR, an index of one")
    root = _gallery.folder_of(gallery) if gallery else None
    found = encoders.open_encoders(workdir=workdir, stage=stage, pretrained=pretrained, config=config)
    opened = opening.open_index(index, found, gallery=root, dtype=dtype)
    return cls(found, opened)

  @property
  def gallery(self) -> pathlib.Path:
    """The folder that paths are relative to."""
    return self.index.gallery

  @property
  def text_length(self) -> int:
    """The longest sentence that the model reads, in tokens, including the start and end token."""
    return self.encoders.text_length

  def __len__(self) -> int:
    return len(self.index)

  def num_tokens(self, sentence: str) -> int:
    """Returns the length of a sentence in tokens, including the start and end token."""
    return self.encoders.num_tokens([sentence])[0]

  def entries(self) -> list[Entry]:
    """Returns all entries of the index, in the order of their keys."""
    stamps = self.index.stamps()
    return [stamps[key] for key in sorted(stamps)]

  def update(self, *, boxes: str | os.PathLike = "", compact: bool = False, show_progress: bool = False) -> Report:
    """Synchronises the index with the gallery: encodes new and changed images and drops removed ones.

    Args:
      boxes: CSV table of the boxes to index instead of whole images (see `gallery.read_boxes`); "" for none.
      compact: whether to rewrite the index without removed entries.
      show_progress: whether to show a progress bar.

    Raises:
      UserError: another process writes to the index, the disk is full, or no indexed image is there any more.
    """
    root = self._checked_gallery()
    if boxes:
      found, missing = _gallery.read_boxes(boxes, root)
    else:
      found, missing = list(_gallery.scan([root], root)), []
    if not found and len(self.index):
      raise UserError(
        f"{root} holds no image{f' that {boxes} lists' if boxes else ''}, but the index {self.index.location} has "
        f"{len(self.index):,} of it; is its disk mounted? If they are really gone, delete the index"
      )
    report = self._add(found, drop_others=True, compact=compact, show_progress=show_progress)
    report.unreadable = missing + report.unreadable
    return report

  def add(self, paths: Iterable[str | os.PathLike], *, show_progress: bool = False) -> Report:
    """Encodes the new and changed images among files and folders; errors as of `update`."""
    found = list(_gallery.scan(paths, self._checked_gallery()))
    return self._add(found, drop_others=False, compact=False, show_progress=show_progress)

  def remove(self, paths: Iterable[str]) -> int:
    """Removes the entries of these paths, as in Result.path, with all their boxes; returns how many."""
    wanted = set(paths)
    keys = [key for key, entry in self.index.stamps().items() if entry.path in wanted]
    if keys:
      try:
        self.index.remove(keys)
        self.index.commit()
      finally:
        self.index.release()
    return len(keys)

  def search(self, query: Content | Query, top: int = 10, where: Where | None = None) -> list[Result]:
    """Returns the `top` best images for a query; fewer if the gallery has fewer that `where` accepts."""
    return self.search_all([query], top, where)[0]

  def search_all(
    self, queries: Sequence[Content | Query], top: int = 10, where: Where | None = None
  ) -> list[list[Result]]:
    """Returns the results of each query, as `search` does, in one pass over the index.

    Raises:
      UserError: the index or a query is empty, a sentence is too long, or an image cannot be read.
    """
    if top < 1:
      raise UserError(f"top={top} must be at least 1")
    if not len(self.index):
      raise UserError(f"the index {self.index.location} is empty: no image of {self.gallery} has been indexed")
    if not queries:
      raise UserError("there is no query; give a sentence or an image")
    embeddings = self.embed(queries)
    return [
      [
        Result(rank, score, entry.path, entry.file(self.gallery), entry.camera, entry.time, entry.box)
        for rank, (score, entry) in enumerate(found, start=1)
      ]
      for found in self.index.search(embeddings, top, where)
    ]

  def embed(self, queries: Sequence[Content | Query]) -> np.ndarray:
    """Returns the embeddings f32[N, E] of queries, of norm 1; errors as of `search_all`."""
    parts = [(i, weight, content) for i, query in enumerate(queries) for weight, content in Query.of(query).parts]
    result = np.zeros((len(queries), self.encoders.embedding_size), np.float32)
    sentences = [(i, weight, content) for i, weight, content in parts if isinstance(content, str)]
    pictures = [(i, weight, content) for i, weight, content in parts if not isinstance(content, str)]
    if sentences:
      self._accumulate(result, sentences, self.encoders.encode_sentences([content for _, _, content in sentences]))
    if pictures:
      pixels = np.stack([self._pixels(content) for _, _, content in pictures])
      self._accumulate(result, pictures, self.encoders.encode_images(pixels))
    norms = np.linalg.norm(result, axis=1, keepdims=True)
    if (norms < 1e-6).any():
      raise UserError("the parts of a query cancel each other; change its weights")
    return result / norms

  @staticmethod
  def _accumulate(result, parts, embeddings):
    for (i, weight, _), embedding in zip(parts, embeddings, strict=True):
      result[i] += weight * embedding

  def _pixels(self, content):
    if isinstance(content, np.ndarray):
      return images.resize(content, self.encoders.image_size)
    return images.decode(content, self.encoders.image_size, use_exif=self.encoders.use_exif).pixels

  def _checked_gallery(self) -> pathlib.Path:
    """Returns the gallery; raises UserError if it is missing, or was not moved here but is another one."""
    root = _gallery.folder_of(self.gallery)
    before = self.index.moved_from
    if before and len(self.index) and not any(entry.file(root).exists() for entry in self.index.stamps().values()):
      raise UserError(
        f"the index {self.index.location} is of the gallery {before}, which is not there now, and none of its images "
        f"is in {root}; give another --index, or delete this one to make it again"
      )
    return root

  def _add(self, found: list[Entry], *, drop_others: bool, compact: bool, show_progress: bool) -> Report:
    stamps = self.index.stamps()
    new = [entry for entry in found if stamps.get(entry.key) != entry]
    gone = stamps.keys() - {entry.key for entry in found} if drop_others else set()
    num_changed = sum(entry.key in stamps for entry in new)
    report = Report(num_changed=num_changed, num_removed=len(gone), num_unchanged=len(found) - len(new))
    if not new and not gone and not compact:
      return report
    try:
      self.index.remove(gone)
      with bar(total=len(new), desc="encoding images", unit="image", disable=not (show_progress and new)) as progress:
        for entries, pixels, failed in self._decoded(new):
          # Indexed images that can no longer be read are removed from the index.
          self.index.remove([entry.key for entry, _ in failed if entry.key in stamps])
          report.unreadable += [(entry.path, reason) for entry, reason in failed]
          report.num_changed -= sum(entry.key in stamps for entry, _ in failed)
          if entries:
            self.index.add(self.encoders.encode_images(np.stack(pixels)), entries)
          report.num_added += sum(entry.key not in stamps for entry in entries)
          progress.update(len(entries) + len(failed))
      self.index.commit(compact=compact)
    except BaseException:
      self.index.release()
      raise
    return report

  def _decoded(self, new: list[Entry]) -> Iterator[tuple[list[Entry], list[np.ndarray], list[tuple[Entry, str]]]]:
    """Yields batches of (entries, their pixels, (entry, reason) of those that cannot be read)."""
    entries, pixels, failed = [], [], []
    frames: dict[str, list[Entry]] = {}
    for entry in new:
      frames.setdefault(entry.path, []).append(entry)
    parts = [part[i : i + _BATCH] for part in frames.values() for i in range(0, len(part), _BATCH)]
    decoded = images.decode_all_boxes(
      ((part[0].file(self.gallery), [entry.box for entry in part]) for part in parts),
      self.encoders.image_size, use_exif=self.encoders.use_exif,
    )  # fmt: skip
    results = (pair for part, of_part in zip(parts, decoded, strict=True) for pair in zip(part, of_part, strict=True))
    for entry, result in results:
      if isinstance(result, images.BadImageError):
        failed.append((entry, result.detail))
      else:
        entries.append(entry)
        pixels.append(result.pixels)
      if len(entries) == _BATCH:
        yield entries, pixels, failed
        entries, pixels, failed = [], [], []
    if entries or failed:
      yield entries, pixels, failed
