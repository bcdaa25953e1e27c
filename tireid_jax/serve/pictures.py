"""The pictures of a gallery by opaque id, as JPEG.

Files are decoded and encoded again, so nothing but pixels leaves the gallery: no metadata, and no file of
another kind.
"""

import collections
import hashlib
import io
import pathlib
import threading
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tireid_jax.data.prepared import images
from tireid_jax.search.entries import Entry
from tireid_jax.serve.errors import ApiError

# (h, w) in pixels that a picture is scaled down to fit into.
SIZES = {"thumbnail": (320, 240), "full": (1600, 1600)}
# Thumbnails that are kept in memory, about 10 KiB each.
_NUM_KEPT = 4096


def id_of(key: str, scope: str = "") -> str:
  """Returns the id of an entry: the same each time that a gallery is served, so that a link to a search stays valid.

  Args:
    key: of the entry.
    scope: "" for the gallery, or what tells a session from it and from other sessions.
  """
  return hashlib.blake2b(f"{scope}\0{key}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class Pictures:
  """The entries of an index by id, and their pictures."""

  def __init__(self, gallery: pathlib.Path, entries: Iterable[Entry] = (), *, use_exif: bool, scope: str = "") -> None:
    self._gallery, self._use_exif, self._scope = gallery, use_exif, scope
    self._root = gallery.resolve()
    self._entries = {id_of(entry.key, scope): entry for entry in entries}
    self._kept: collections.OrderedDict[str, bytes] = collections.OrderedDict()
    self._lock = threading.Lock()

  def __contains__(self, picture: str) -> bool:
    return picture in self._entries

  def add(self, entry: Entry) -> str:
    """Adds an entry; returns its id."""
    picture = id_of(entry.key, self._scope)
    self._entries[picture] = entry
    return picture

  def entry(self, picture: str) -> Entry:
    """Returns the Entry of an id; raises ApiError 404 if there is none."""
    try:
      return self._entries[picture]
    except KeyError:
      raise ApiError(404, "there is no such image in this gallery") from None

  def file(self, picture: str) -> pathlib.Path:
    """Returns the file of an id, with all links resolved; raises ApiError 404 unless it lies in the gallery."""
    try:
      file = self.entry(picture).file(self._gallery).resolve(strict=True)
    except (OSError, RuntimeError):
      raise ApiError(404, "the image is not there any more; restart the server to update the index") from None
    if not file.is_relative_to(self._root):
      raise ApiError(404, "the image is outside of the gallery, and only files in it are served")
    return file

  def pixels(self, picture: str, image_size: tuple[int, int]) -> np.ndarray:
    """Returns the picture of an id as u8[h, w, 3] of a size; raises ApiError 404."""
    try:
      return images.decode(self.file(picture), image_size, use_exif=self._use_exif, box=self.entry(picture).box).pixels
    except images.BadImageError as error:
      raise ApiError(404, f"the image {error.detail}") from error

  def jpeg(self, picture: str, size: str) -> bytes:
    """Returns the picture of an id as JPEG, scaled down to fit into SIZES[size]; raises ApiError 404."""
    with self._lock:
      if size == "thumbnail" and picture in self._kept:
        self._kept.move_to_end(picture)
        return self._kept[picture]
    file, box = self.file(picture), self.entry(picture).box
    try:
      own = images.read_size(file, use_exif=self._use_exif) if box is None else box[:1:-1]
      pixels = images.decode(file, _fit(own, SIZES[size]), use_exif=self._use_exif, box=box).pixels
    except images.BadImageError as error:
      raise ApiError(404, f"the image {error.detail}") from error
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    if size == "thumbnail":
      with self._lock:
        self._kept[picture] = stream.getvalue()
        if len(self._kept) > _NUM_KEPT:
          self._kept.popitem(last=False)
    return stream.getvalue()


def _fit(own: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
  """Returns (h, w) with the aspect ratio of `own` that fits into `limit`, not larger than `own`."""
  scale = min(1.0, *(most / side for most, side in zip(limit, own, strict=True)))
  return max(1, round(own[0] * scale)), max(1, round(own[1] * scale))
