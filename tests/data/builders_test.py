"""TFDS builders: pixels as PIL's, rows in the file's order, without TensorFlow at any size."""

import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.data import trees
from tireid_jax.data import builders, schema

SIZE = (24, 16)
REPOSITORY = pathlib.Path(__file__).parents[2]


def pil_resize(file, size=SIZE):
  return np.asarray(Image.open(file).convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", schema.LAYOUTS)
def test_every_record_is_its_entry_with_pil_s_pixels(tmp_path, name):
  root = trees.make_tree(tmp_path, name)
  folder = builders.build(name, tmp_path, tmp_path / "data", SIZE, show_progress=False)
  assert str(folder) == str(tmp_path / "data" / name / "24x16" / schema.VERSION)
  path_key = schema.layout_of(name).path_key
  for split in tfds.builder_from_directory(folder).info.splits:
    entries = [entry for entry in trees.read_entries(root, name) if entry["split"] == split]
    records = list(tfds.builder_from_directory(folder).as_data_source(split))
    for record, entry in zip(records, entries, strict=True):
      np.testing.assert_array_equal(record["image"], pil_resize(root / "imgs" / entry[path_key]))
      assert record["image"].dtype == np.uint8
      assert record["person_id"] == entry["id"]
      assert record["file_path"].decode() == entry[path_key]
      assert [caption.decode() for caption in record["captions"]] == entry["captions"]


def test_rows_keep_their_order_across_shards(tmp_path, monkeypatch):
  monkeypatch.setattr(builders, "SHARD_BYTES", 5 * 24 * 16 * 3)
  root = trees.make_tree(tmp_path, "rstp_reid")
  folder = builders.build("rstp_reid", tmp_path, tmp_path / "data", SIZE, show_progress=False)
  builder = tfds.builder_from_directory(folder)
  assert builder.info.splits["train"].shard_lengths == [5, 5, 5, 3]
  expected = [entry["img_path"] for entry in trees.read_entries(root, "rstp_reid") if entry["split"] == "train"]
  assert [record["file_path"].decode() for record in builder.as_data_source("train")] == expected


def test_tensorflow_is_not_needed_however_large_the_data(tmp_path):
  # TFDS's shuffling writer imports TensorFlow once it has more than MAX_MEM_BUFFER_SIZE in hand.
  trees.make_tree(tmp_path, "cuhk_pedes")
  script = f"""
import sys
from tensorflow_datasets.core import shuffle
shuffle.MAX_MEM_BUFFER_SIZE = 1
from tireid_jax.data import prepare, prepared
prepare.prepare("cuhk_pedes", {str(tmp_path)!r}, {str(tmp_path / "data")!r}, {SIZE}, show_progress=False)
split = prepared.open_split({str(tmp_path / "data")!r}, "cuhk_pedes", {SIZE}, "train")
print(len(split.images), "tensorflow" in sys.modules)
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
  assert done.returncode == 0, done.stderr
  assert done.stdout == "16 False\n"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_images_that_are_not_rgb_are_converted_as_pil_does(tmp_path, mode):
  trees.write_image(tmp_path / "rgb.jpg", np.random.default_rng(0))
  file = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
  Image.open(tmp_path / "rgb.jpg").convert(mode).save(file)
  np.testing.assert_array_equal(builders.decode(file, SIZE), pil_resize(file))


def test_the_rotation_in_exif_is_left_alone_as_in_the_reference(tmp_path):
  trees.write_image(tmp_path / "plain.jpg", np.random.default_rng(0))
  image = Image.open(tmp_path / "plain.jpg")
  exif = Image.Exif()
  exif[0x0112] = 6  # orientation: turn by 90 degrees
  image.save(tmp_path / "turned.png", exif=exif)
  np.testing.assert_array_equal(
    builders.decode(tmp_path / "turned.png", SIZE), builders.decode(tmp_path / "plain.jpg", SIZE)
  )


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_an_undecodable_image_is_an_error_that_names_it(tmp_path, damage):
  file = tmp_path / "image.jpg"
  trees.write_image(file, np.random.default_rng(0))
  content = file.read_bytes()
  file.write_bytes({"empty": b"", "text": b"no image", "cut": content[: len(content) // 2]}[damage])
  with pytest.raises(ValueError, match=r"image\.jpg does not decode as an image"):
    builders.decode(file, SIZE)


def test_decoding_is_bounded_ahead_and_keeps_the_order(tmp_path):
  trees.write_image(tmp_path / "a.jpg", np.random.default_rng(0))
  trees.write_image(tmp_path / "b.jpg", np.random.default_rng(1))
  endless = itertools.cycle([tmp_path / "a.jpg", tmp_path / "b.jpg"])
  images = list(itertools.islice(builders.decode_all(endless, SIZE), 40))
  for place, image in enumerate(images):
    np.testing.assert_array_equal(image, pil_resize(tmp_path / ("a.jpg", "b.jpg")[place % 2]))


def test_the_builders_are_known_to_tfds_by_name():
  assert set(builders.BUILDERS) == set(schema.LAYOUTS)
  for name, cls in builders.BUILDERS.items():
    assert tfds.builder_cls(name) is cls
