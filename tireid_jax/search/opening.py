"""Opens the index that --index names: a folder, or a collection in Milvus."""

import hashlib
import os
import pathlib
import tempfile

from tireid_jax.search import milvus_address
from tireid_jax.search.encoders import Encoders, Identity
from tireid_jax.search.index import Index
from tireid_jax.search.milvus_index import MilvusIndex
from tireid_jax.search.protocol import SearchIndex
from tireid_jax.storage import locations


def check(index: str | os.PathLike) -> None:
  """Checks the value of --index, before a model is loaded.

  Raises:
    UserError: it is no path and no address of Milvus, or it needs packages that are not installed.
  """
  if milvus_address.is_milvus(index):
    milvus_address.check_installed(milvus_address.parse(index))
  else:
    locations.local_path(index, "--index")


def open_index(
  index: str | os.PathLike, encoders: Encoders, *, gallery: pathlib.Path | None = None, dtype: str = ""
) -> SearchIndex:
  """Returns an index, which may be new.

  Args:
    index: folder, or "milvus:URI" (see milvus_address.py); "" for `default_folder`, which needs `gallery`.
    encoders: of the model, which must have made the index.
    gallery: absolute folder of images; None for that of the index.
    dtype: of a new index, "bfloat16" or "float32"; "" for that of the index, or for a new one bfloat16 on a disk and
      float32 in Milvus.

  Raises:
    UserError: another model, gallery or dtype made the index, or it cannot be opened.
  """
  identity, embedding_size = encoders.identity, encoders.embedding_size
  if milvus_address.is_milvus(index):
    return MilvusIndex(
      milvus_address.parse(index), identity=identity, gallery=gallery, embedding_size=embedding_size, dtype=dtype
    )
  if index:
    folder = locations.local_path(index, "--index").absolute()
  else:
    assert gallery is not None
    folder = default_folder(gallery, encoders.identity)
  return Index(
    folder, identity=identity, gallery=gallery, embedding_size=embedding_size, mesh=encoders.mesh, dtype=dtype
  )


def default_folder(gallery: pathlib.Path, identity: Identity) -> pathlib.Path:
  """Returns the index of a gallery by a model: ~/.cache/tireid_jax/search/GALLERY-DIGEST.

  Not in the gallery, which may be read-only and belongs to the user. The digest is of the gallery's path and of the
  model, so indexes of several models do not collide.
  """
  try:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
  except RuntimeError:  # neither HOME nor an entry in passwd
    cache = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
  made = hashlib.blake2b(f"{gallery}\0{identity.digest}\0{identity.preprocessing}".encode(), digest_size=8).hexdigest()
  return cache / "tireid_jax" / "search" / f"{gallery.name}-{made}"
