"""TFDS builders: pixels equal PIL's, records keep the order of entries, and no size of data needs TensorFlow."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.data import trees
from tireid_jax.data import prepare
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import builders, shards
from tireid_jax.data.raw import schema

SIZE = (24, 16)
REPOSITORY = pathlib.Path(__file__).parents[3]


def pil_resize(file, size=SIZE):
  return np.asarray(Image.open(file).convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", trees.NAMES)
def test_every_record_matches_its_entry_and_has_pil_s_pixels(tmp_path, name):
  root = trees.make_tree(tmp_path, name)
  folder = prepare.prepare(name, tmp_path, tmp_path / "data", SIZE, show_progress=False)
  assert str(folder) == str(tmp_path / "data" / name / "24x16" / schema.VERSION)
  path_key = registry.layout_of(name).path_key
  for split in tfds.builder_from_directory(folder).info.splits:
    entries = [entry for entry in trees.read_entries(root, name) if entry["split"] == split]
    records = list(tfds.builder_from_directory(folder).as_data_source(split))
    for record, entry in zip(records, entries, strict=True):
      np.testing.assert_array_equal(record["image"], pil_resize(root / "imgs" / entry[path_key]))
      assert record["image"].dtype == np.uint8
      assert record["person_id"] == entry["id"]
      assert record["file_path"].decode() == entry[path_key]
      assert [caption.decode() for caption in record["captions"]] == entry["captions"]


def test_records_keep_their_order_across_shards(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "SHARD_BYTES", 5 * 24 * 16 * 3)
  root = trees.make_tree(tmp_path, "rstp_reid")
  folder = prepare.prepare("rstp_reid", tmp_path, tmp_path / "data", SIZE, show_progress=False)
  builder = tfds.builder_from_directory(folder)
  assert builder.info.splits["train"].shard_lengths == [5, 5, 5, 3]
  expected = [entry["img_path"] for entry in trees.read_entries(root, "rstp_reid") if entry["split"] == "train"]
  assert [record["file_path"].decode() for record in builder.as_data_source("train")] == expected


def test_no_file_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
  (tmp_path / "temporary").mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
  trees.make_tree(tmp_path, "cuhk_pedes")
  prepare.prepare("cuhk_pedes", tmp_path, tmp_path / "data", SIZE, show_progress=False)
  assert list((tmp_path / "temporary").iterdir()) == []


def test_large_data_does_not_need_tensorflow(tmp_path):
  # TFDS's shuffling writer imports TensorFlow once it buffers more than MAX_MEM_BUFFER_SIZE.
  trees.make_tree(tmp_path, "cuhk_pedes")
  script = f"""
import sys
from tensorflow_datasets.core import shuffle
shuffle.MAX_MEM_BUFFER_SIZE = 1
from tireid_jax.data import prepare
from tireid_jax.data.prepared import splits
prepare.prepare("cuhk_pedes", {str(tmp_path)!r}, {str(tmp_path / "data")!r}, {SIZE}, show_progress=False)
split = splits.open_split({str(tmp_path / "data")!r}, "cuhk_pedes", {SIZE}, "train")
print(len(split.images), "tensorflow" in sys.modules)
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
  assert done.returncode == 0, done.stderr
  assert done.stdout == "16 False\n"


def test_the_builders_are_registered_in_tfds():
  assert set(builders.BUILDERS) == set(registry.LAYOUTS)
  for name, cls in builders.BUILDERS.items():
    assert tfds.builder_cls(name) is cls


def test_building_without_shards_is_an_error_that_names_the_command(tmp_path):
  with pytest.raises(ValueError, match="cuhk_pedes is prepared by python -m tireid_jax.data.prepare --config"):
    tfds.builder("cuhk_pedes", data_dir=tmp_path).download_and_prepare(
      file_format="array_record", download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def test_files_are_copied_on_a_file_system_without_hard_links(tmp_path, monkeypatch):
  def deny(*paths):
    raise PermissionError

  root = trees.make_tree(tmp_path, "cuhk_pedes")
  monkeypatch.setattr(builders.os, "link", deny)
  folder = prepare.prepare("cuhk_pedes", tmp_path, tmp_path / "data", SIZE, show_progress=False)
  record = next(iter(tfds.builder_from_directory(folder).as_data_source("train")))
  np.testing.assert_array_equal(record["image"], pil_resize(root / "imgs" / record["file_path"].decode()))
