"""An index in a collection of Milvus, through pymilvus: the same code for Milvus Lite and for a cluster.

The collection has a field for each field of an entry, and in its property `tireid_jax` what made it, as JSON. Vectors
are float32. Milvus Lite compares all vectors (FLAT): it is made for small sets, and the HNSW graphs of its segments
return too few images if a filter accepts few. A cluster searches HNSW graphs.

Each added batch is in Milvus when `add` returns, so a killed update continues where it stopped. A cluster has no lock:
two updates of one gallery at once do their work twice, with the same result.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.search import manifest, milvus_rows
from tireid_jax.search.encoders import Identity
from tireid_jax.search.entries import Entry
from tireid_jax.search.milvus_address import Address
from tireid_jax.search.milvus_client import REQUEST_S, connect, reporting
from tireid_jax.search.where import Where
from tireid_jax.terminal.progress import log_line

# Of random vectors of 512 dimensions, the hardest case, these find all ten nearest of 10,000 and 99.6% of 30,000.
# An ef of 64, a common default, finds 63% and 37% of them.
M, EF_CONSTRUCTION, EF = 32, 256, 1024
# The most results of a query, and entries of a page, that Milvus returns.
_MAX_TOP = 16_384
# Entries of a request: 2 MB at 512 dimensions.
_BATCH = 1000
_NUM_QUERIES = 64
_PROPERTY, _VERSION = "tireid_jax", 1


class MilvusIndex:
  """The five methods of an index, `stamps`, `add`, `remove`, `commit` and `search`, on a collection of Milvus."""

  def __init__(
    self, address: Address, *, identity: Identity, gallery: pathlib.Path | None, embedding_size: int, dtype: str = ""
  ) -> None:
    """Opens an index; the collection is created by the first `add`.

    Args:
      address: of the collection.
      identity: of the model, which must have made the index.
      gallery: folder that the entries' paths are relative to; None for that of the index.
      embedding_size: E.
      dtype: "float32" or "".

    Raises:
      UserError: another model or gallery made the index, or Milvus cannot be used (see `milvus_client.connect`).
    """
    if dtype not in ("", "float32"):
      raise UserError(f"{address.text}: an index in Milvus holds float32, not {dtype}; leave --dtype out")
    missing = f"{address.text} holds no index; give --gallery=DIR, a folder of images, to make one"
    if gallery is None and address.folder is not None and not address.folder.exists():
      raise UserError(missing)
    self._address, self._client = address, connect(address)
    found = self._read()
    self._exists = found is not None
    if found is None:
      if gallery is None:
        raise UserError(missing)
      found = manifest.Manifest(identity._asdict(), str(gallery), "float32", embedding_size)
    else:
      manifest.check_same(found, address.text, identity, gallery, dtype)
    self.moved_from = "" if gallery is None or found.gallery == str(gallery) else found.gallery
    self._manifest = found if gallery is None else dataclasses.replace(found, gallery=str(gallery))
    if self._exists:
      with reporting(address):
        self._load()
    log_line(f"{address.text}: {len(self):,} images; {_description(address)}")

  @property
  def location(self) -> str:
    """The address, as it was given."""
    return self._address.text

  @property
  def gallery(self) -> pathlib.Path:
    """The folder that paths are relative to."""
    return pathlib.Path(self._manifest.gallery)

  def __len__(self) -> int:
    if not self._exists:
      return 0
    with reporting(self._address):
      (row,) = self._client.query(self._address.collection, filter="", output_fields=["count(*)"], timeout=REQUEST_S)
    return row["count(*)"]

  def stamps(self) -> dict[str, Entry]:
    """Returns {key: Entry} of all entries."""
    found: dict[str, Entry] = {}
    if not self._exists:
      return found
    with reporting(self._address):
      pages = self._client.query_iterator(
        self._address.collection, batch_size=_MAX_TOP, output_fields=[*milvus_rows.COLUMNS], timeout=REQUEST_S
      )
      while page := pages.next():
        entries = map(milvus_rows.to_entry, page)
        found.update((entry.key, entry) for entry in entries)
      pages.close()
    return found

  def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> None:
    """Adds vectors [n, E] of norm 1 with their entries, which replace entries of the same key.

    Raises:
      UserError: Milvus does not answer, or cannot store them.
    """
    last = {entry.key: i for i, entry in enumerate(entries)}  # Milvus rejects a key that occurs twice in a request
    rows = [milvus_rows.to_row(np.asarray(vectors[i], np.float32), entries[i]) for i in last.values()]
    with reporting(self._address):
      self._begin()
      for start in range(0, len(rows), _BATCH):
        self._client.upsert(self._address.collection, rows[start : start + _BATCH], timeout=REQUEST_S)

  def remove(self, keys: Iterable[str]) -> None:
    """Removes entries; keys that are not there are ignored. Errors as of `add`."""
    ids = [milvus_rows.id_of(key) for key in keys]
    if not ids or not self._exists:
      return
    with reporting(self._address):
      self._begin()
      for start in range(0, len(ids), _BATCH):
        self._client.delete(self._address.collection, ids=ids[start : start + _BATCH], timeout=REQUEST_S)

  def commit(self, *, compact: bool = False) -> None:
    """Writes Milvus Lite's files; a cluster has written each batch durably. `compact` lets Milvus compact them."""
    if not self._exists:
      return
    with reporting(self._address):
      if self._address.folder is not None:
        self._client.flush(self._address.collection, timeout=REQUEST_S)
      if compact:
        self._client.compact(self._address.collection, timeout=REQUEST_S)

  def release(self) -> None:
    """Does nothing: there is no lock."""

  def search(self, queries: np.ndarray, top: int, where: Where | None = None) -> list[list[tuple[float, Entry]]]:
    """Returns for each query [N, E] of norm 1 the `top` best (similarity, Entry), best first.

    Raises:
      UserError: Milvus does not answer, or `top` is more than it returns.
    """
    if top > _MAX_TOP:
      raise UserError(f"{self.location}: Milvus returns at most {_MAX_TOP:,} images for a query, not {top:,}")
    if not self._exists:
      return [[] for _ in queries]
    found: list[list[tuple[float, Entry]]] = []
    with reporting(self._address):
      for start in range(0, len(queries), _NUM_QUERIES):
        results = self._client.search(
          self._address.collection, data=list(queries[start : start + _NUM_QUERIES].astype(np.float32)), limit=top,
          filter=milvus_rows.to_filter(where), search_params={"metric_type": "IP", "params": {"ef": max(EF, top)}},
          output_fields=[*milvus_rows.COLUMNS], timeout=REQUEST_S,
        )  # fmt: skip
        found += [[(hit["distance"], milvus_rows.to_entry(hit["entity"])) for hit in hits] for hits in results]
    return found

  def _read(self):
    """Returns the Manifest of the collection; None if there is no collection."""
    with reporting(self._address):
      if not self._client.has_collection(self._address.collection, timeout=REQUEST_S):
        return None
      properties = self._client.describe_collection(self._address.collection, timeout=REQUEST_S)["properties"]
    try:
      data = json.loads(properties[_PROPERTY])
      version = data.pop("version")
      found = manifest.Manifest(**data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      raise UserError(
        f"{self.location}: the collection {self._address.collection} holds other data and no index; name another one, "
        f"as in {self.location.partition('#')[0]}#NAME"
      ) from error
    if version != _VERSION:
      raise UserError(f"{self.location} has version {version!r}, and this program reads {_VERSION}; make it again")
    return found

  def _begin(self):
    """Creates the collection, or stores where its gallery is now."""
    if self._exists and not self.moved_from:
      return
    fields = {name: getattr(self._manifest, name) for name in ("model", "gallery", "dtype", "embedding_size")}
    properties = {_PROPERTY: json.dumps({"version": _VERSION, **fields})}
    if self._exists:
      self._client.alter_collection_properties(self._address.collection, properties=properties, timeout=REQUEST_S)
    else:
      import pymilvus

      schema = self._client.create_schema(auto_id=False)
      milvus_rows.add_fields(schema, pymilvus.DataType, self._manifest.embedding_size)
      self._client.create_collection(
        self._address.collection, schema=schema, properties=properties, consistency_level="Strong", timeout=REQUEST_S
      )
      self._load()
    self._exists, self.moved_from = True, ""

  def _load(self):
    """Loads the collection, with an index, which a writer that was killed may not have made, or not completely."""
    import pymilvus

    name = self._address.collection
    self._create_index()
    try:
      self._client.load_collection(name, timeout=REQUEST_S)
    except pymilvus.MilvusException:
      if self._address.folder is None:
        raise
      # Milvus Lite writes an index file in place, so a kill or a full disk leaves a part of it; the data are complete.
      self._client.drop_index(name, milvus_rows.VECTOR, timeout=REQUEST_S)
      self._create_index()
      self._client.load_collection(name, timeout=REQUEST_S)

  def _create_index(self):
    name = self._address.collection
    if not self._client.list_indexes(name, timeout=REQUEST_S):
      index = self._client.prepare_index_params()
      if self._address.folder is not None:
        index.add_index(milvus_rows.VECTOR, index_type="FLAT", metric_type="IP")
      else:
        parameters = {"M": M, "efConstruction": EF_CONSTRUCTION}
        index.add_index(milvus_rows.VECTOR, index_type="HNSW", metric_type="IP", params=parameters)
      self._client.create_index(name, index, timeout=REQUEST_S)


def _description(address):
  if address.folder is None:
    return f"HNSW, M={M}, efConstruction={EF_CONSTRUCTION}, ef={EF}"
  # The times are the fastest of 60 queries on two cores at work with other programs.
  return (
    "Milvus Lite is for API compatibility and small sets: it compares all vectors (FLAT, no ef), in 30 ms per query at "
    "10,000 images and 220 ms at 100,000, and one process at a time can open the folder"
  )
