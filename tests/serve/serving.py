"""A Searcher on a random model and a few ToyPEDES pictures, and clients of its page."""

import pathlib

from starlette.testclient import TestClient

from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.search import Searcher
from tireid_jax.serve.app import make_app
from tireid_jax.serve.settings import Settings
from tireid_jax.serve.vocabulary import Vocabulary

HOME = "http://localhost:8000"


def make_searcher(folder: pathlib.Path) -> Searcher:
  """Writes a run and a gallery of pictures below a folder; returns their Searcher, up to date."""
  run = searching.make_run(folder / "run")
  sizes = {"num_train_ids": 2, "num_val_ids": 1, "num_test_ids": 3, "images_per_id": 2}
  raw = toy.write_pedes(folder / "raw", seed=3, **sizes, num_workers=1)
  searcher = Searcher.open(workdir=run, gallery=raw / "imgs", index=folder / "index", dtype="float32")
  searcher.update()
  return searcher


def make_client(
  searcher: Searcher, *, home: str = HOME, vocabulary: Vocabulary | None = None, **settings
) -> TestClient:
  """Returns a client of the application with these Settings, which has called nothing yet."""
  app = make_app(searcher, Settings(**settings), vocabulary)
  return TestClient(app, base_url=home, raise_server_exceptions=False)
