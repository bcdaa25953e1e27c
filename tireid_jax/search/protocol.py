"""What a Searcher needs of an index, on a disk (index.py) or in Milvus (milvus_index.py)."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from tireid_jax.search.entries import Entry
from tireid_jax.search.where import Where


class SearchIndex(Protocol):
  """Image embeddings and their entries: `stamps`, `add`, `remove`, `commit` and `search`.

  An entry is identified by its key. What `add` and `remove` change is durable once `commit` returns; a writer that is
  killed before may lose it.
  """

  @property
  def location(self) -> str:
    """Where the index is, for messages."""
    ...

  @property
  def gallery(self) -> pathlib.Path:
    """The folder that the entries' paths are relative to."""
    ...

  @property
  def moved_from(self) -> str:
    """The folder that was the gallery when the index was last written, if it is another one now; else ""."""
    ...

  def __len__(self) -> int:
    """Returns the number of entries."""
    ...

  def stamps(self) -> dict[str, Entry]:
    """Returns {key: Entry} of all entries."""
    ...

  def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> None:
    """Adds vectors [n, E] of norm 1 with their entries, which replace entries of the same key."""
    ...

  def remove(self, keys: Iterable[str]) -> None:
    """Removes entries; keys that are not there are ignored."""
    ...

  def commit(self, *, compact: bool = False) -> None:
    """Makes the changes durable, and ends the writing; `compact` also frees the space of removed entries."""
    ...

  def release(self) -> None:
    """Ends the writing without a commit, after an error."""
    ...

  def search(self, queries: np.ndarray, top: int, where: Where | None = None) -> list[list[tuple[float, Entry]]]:
    """Returns for each query [N, E] of norm 1 the `top` best (similarity, Entry), best first."""
    ...
