"""Preparation: data prepared by earlier versions stays valid, and the same raw data keeps its fingerprint."""

import json
import pathlib

import numpy as np

from tests.data import trees
from tests.data.preparing import SIZE, run_prepare
from tireid_jax.data import tokenizer
from tireid_jax.data.prepared import builders, splits

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "testdata" / "tokenizer.json").read_text())

# Computed when the package instant-clip-tokenizer still tokenized the captions. It changes with the tokens, the digests
# of files or the annotations; checkpoints that were trained on data prepared earlier would then be rejected.
FINGERPRINT = "f080c43cb482348211c9f37af33c2c055b979bf6b9698f6e1b740a98339fe39e"


def make_raw(folder):
  """Writes a small CUHK-PEDES: an image per split, with the golden captions. Its bytes depend on no image encoder."""
  captions = [caption["text"] for caption in GOLDEN["captions"] if caption["kind"] not in ("empty", "special")]
  entries = [
    {"split": split, "captions": captions[index::3], "file_path": f"{split}.jpg", "id": index + 1}
    for index, split in enumerate(("train", "val", "test"))
  ]
  trees.write_annotations(folder / "CUHK-PEDES", "cuhk_pedes", entries)
  for index, entry in enumerate(entries):
    file = folder / "CUHK-PEDES" / "imgs" / entry["file_path"]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"P6 2 3 255\n" + bytes(range(index, index + 18)))  # a PPM, 2 x 3 pixels


def test_the_fingerprint_equals_that_of_earlier_versions(tmp_path):
  make_raw(tmp_path / "raw")
  run_prepare("cuhk_pedes", tmp_path)
  assert splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)["fingerprint"] == FINGERPRINT


def test_data_prepared_with_an_earlier_tokenizer_package_is_read_and_not_prepared_again(tmp_path, monkeypatch):
  make_raw(tmp_path / "raw")
  target = run_prepare("cuhk_pedes", tmp_path)
  info = json.loads((target / splits.INFO_FILE).read_text())
  # As recorded when instant-clip-tokenizer was a requirement.
  info["libraries"] = {"ftfy": "6.3.1", "instant-clip-tokenizer": "0.1.1", "numpy": "2.4.6", "tokenizers": "0.23.3"}
  (target / splits.INFO_FILE).write_text(json.dumps(info))
  monkeypatch.setattr(builders, "build", None)
  assert run_prepare("cuhk_pedes", tmp_path) == target
  assert json.loads((target / splits.INFO_FILE).read_text()) == info
  split = splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "test")
  np.testing.assert_array_equal(split.tokens, tokenizer.tokenize(split.captions))
