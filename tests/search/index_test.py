"""The index on disk, with random vectors: what it holds after many changes, and what adding to it reads."""

import shutil

import numpy as np
import pytest

from tireid_jax.errors import UserError
from tireid_jax.parallel import sharding
from tireid_jax.search import index, segments
from tireid_jax.search.encoders import Identity
from tireid_jax.search.entries import Entry

SIZE = 8


@pytest.fixture
def opened(tmp_path, monkeypatch):
  """Returns a function that opens the index, whose segments are written at each `add`."""
  monkeypatch.setattr(index, "SEGMENT_ROWS", 1)
  mesh = sharding.make_mesh(-1, 1, 1)

  def open_index(source="random", gallery=tmp_path):
    identity = Identity(source, source, {})
    return index.Index(tmp_path / "index", identity=identity, gallery=gallery, embedding_size=SIZE, mesh=mesh)

  return open_index


def add(writer, name):
  writer.add(np.eye(1, SIZE, dtype=np.float32), [Entry(name, 0, 0)])


def test_one_writer_replaces_and_removes_what_any_of_its_segments_holds(opened):
  rng = np.random.default_rng(0)
  held, writer = {}, opened()
  for _ in range(12):
    names = [f"{number}.jpg" for number in rng.integers(10, size=4)]  # some of them twice
    vectors = rng.standard_normal((4, SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    writer.add(vectors, [Entry(name, 0, 0) for name in names])
    held |= dict(zip(names, vectors, strict=True))
    gone = [f"{number}.jpg" for number in rng.integers(10, size=2)]
    writer.remove(gone)
    held = {name: vector for name, vector in held.items() if name not in gone}
  writer.commit()
  for reader in (writer, opened()):
    assert len(reader) == len(held) > 0
    assert {entry.path for entry in reader.stamps().values()} == held.keys()
    for name, vector in held.items():
      [[(score, best)]] = reader.search(vector[None], 1)
      assert (best.path, score) == (name, pytest.approx(1, abs=0.01))


def test_adding_does_not_read_the_entries_of_the_segments_written_before(opened, monkeypatch):
  entry, read = segments.Table.entry, []
  monkeypatch.setattr(segments.Table, "entry", lambda self, i: read.append(i) or entry(self, i))
  writer = opened()
  for number in range(9):
    add(writer, f"{number}.jpg")
  assert read == []
  writer.commit()
  assert len(writer) == 9


def test_two_models_that_make_one_index_do_not_mix_their_vectors(opened, tmp_path):
  (tmp_path / "other").mkdir()
  first, model, gallery = opened(), opened("another"), opened(gallery=tmp_path / "other")
  add(first, "a.jpg")
  first.commit()
  with pytest.raises(UserError, match="was made with another model, random, not another"):
    add(model, "b.jpg")
  with pytest.raises(UserError, match="is of the gallery"):
    add(gallery, "b.jpg")
  add(first, "c.jpg")  # the others hold no lock
  first.commit()
  assert {entry.path for entry in opened().stamps().values()} == {"a.jpg", "c.jpg"}


def test_an_index_that_was_deleted_while_it_was_open_is_not_written_without_its_vectors(opened, tmp_path):
  writer = opened()
  add(writer, "a.jpg")
  writer.commit()
  shutil.rmtree(tmp_path / "index")
  with pytest.raises(UserError, match="was deleted while it was in use; open it again"):
    add(writer, "b.jpg")
  again = opened()
  add(again, "b.jpg")
  again.commit()
  assert len(opened()) == 1
