"""A run with a random model, the test split of a small ToyPEDES as its gallery, and the application on both."""

import json
import pathlib
import shutil
import types

from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.search import Searcher
from tireid_jax.serve.app import make_app
from tireid_jax.serve.settings import Settings
from tireid_jax.serve.vocabulary import Vocabulary

SIZES = {"num_train_ids": 2, "num_val_ids": 2, "num_test_ids": 14, "images_per_id": 2}


def make(folder: pathlib.Path) -> types.SimpleNamespace:
  """Writes all below a folder and returns it as attributes.

  Returns:
    folder, run, gallery, data_dir: paths; searcher: Searcher; app: the application; queries: (caption, identity) of the
    test split; identity_of: {path in the gallery: identity}.
  """
  raw = toy.write_pedes(folder / "raw", seed=3, **SIZES, num_workers=1)
  prepare("toy_pedes", folder / "raw", folder / "data", searching.SIZE, show_progress=False)
  entries = [entry for entry in json.loads((raw / "reid_raw.json").read_text()) if entry["split"] == "test"]
  gallery = folder / "gallery"
  for entry in entries:
    (gallery / entry["file_path"]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(raw / "imgs" / entry["file_path"], gallery / entry["file_path"])
  run = searching.make_run(folder / "run")
  searcher = Searcher.open(workdir=run, gallery=gallery, index=folder / "index", dtype="float32")
  searcher.update()
  queries = [(caption, entry["id"]) for entry in entries for caption in entry["captions"]]
  settings = Settings(searches_per_minute=100_000, images_per_minute=100_000)
  return types.SimpleNamespace(
    folder=folder, run=run, gallery=gallery, data_dir=folder / "data", queries=queries, searcher=searcher,
    identity_of={entry["file_path"]: entry["id"] for entry in entries},
    app=make_app(searcher, settings, Vocabulary([caption for caption, _ in queries])),
  )  # fmt: skip
