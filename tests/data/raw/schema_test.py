"""Annotation readers: the three layouts, their peculiarities, and the errors for invalid files."""

import dataclasses
import json

import pytest

from tests.data import trees
from tireid_jax.data.datasets import registry
from tireid_jax.data.raw import schema

REAL = ("cuhk_pedes", "icfg_pedes", "rstp_reid")


@pytest.mark.parametrize("name", trees.NAMES)
def test_every_entry_is_read_in_order_with_its_image(tmp_path, name):
  root = trees.make_tree(tmp_path, name)
  layout = registry.layout_of(name)
  entries = trees.read_entries(root, name)
  records = schema.read_annotations(layout, tmp_path)
  assert [r.file_path for r in records] == [entry[layout.path_key] for entry in entries]
  assert [r.person_id for r in records] == [entry["id"] for entry in entries]
  assert [r.split for r in records] == [entry["split"] for entry in entries]
  assert [list(r.captions) for r in records] == [entry["captions"] for entry in entries]
  assert all(r.image_file == root / "imgs" / r.file_path and r.image_file.is_file() for r in records)


def test_the_folder_of_the_data_set_is_accepted_as_well_as_its_parent(tmp_path):
  root = trees.make_tree(tmp_path, "cuhk_pedes")
  layout = registry.layout_of("cuhk_pedes")
  assert schema.read_annotations(layout, root) == schema.read_annotations(layout, tmp_path)


def test_cuhk_ids_start_at_1_and_identities_with_one_image_and_images_with_three_captions_are_read(tmp_path):
  trees.make_tree(tmp_path, "cuhk_pedes", num_ids={"train": 2})
  records = schema.read_annotations(registry.layout_of("cuhk_pedes"), tmp_path)
  assert sorted(r.person_id for r in records) == [1, 2, 2, 2]
  assert schema.count(records) == {"train": schema.Counts(ids=2, images=4, captions=9)}


def test_icfg_is_read_from_either_name_of_its_file(tmp_path):
  root = trees.make_tree(tmp_path, "icfg_pedes")
  layout = registry.layout_of("icfg_pedes")
  published = schema.read_annotations(layout, tmp_path)
  (root / "ICFG-PEDES.json").rename(root / "ICFG_PEDES.json")
  assert schema.read_annotations(layout, tmp_path) == published


def test_the_split_of_icfg_comes_from_the_field_and_not_from_the_folder(tmp_path):
  trees.make_tree(tmp_path, "icfg_pedes")
  records = schema.read_annotations(registry.layout_of("icfg_pedes"), tmp_path)
  assert any(r.split == "train" and r.file_path.startswith("test/") for r in records)
  assert schema.count(records)["train"].ids == trees.NUM_IDS["train"]


def test_the_case_of_splits_is_ignored(tmp_path):
  root = trees.make_tree(tmp_path, "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  trees.write_annotations(root, "rstp_reid", [entry | {"split": entry["split"].upper()} for entry in entries])
  records = schema.read_annotations(registry.layout_of("rstp_reid"), tmp_path)
  assert {r.split for r in records} == {"train", "val", "test"}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"split": "query"}, "has the split 'query', not one of train, val, test"),
    ({"split": None}, "has the split None"),
    ({"captions": []}, "has no caption"),
    ({"captions": "a man"}, "has no list of captions, but a string"),
    ({"captions": ["a man", " "]}, "has a caption that is empty"),
    ({"captions": None}, "has no list of captions, but None"),
    ({"captions": ["a man", None]}, "has a caption that is no text: None"),
    ({"captions": ["half a pair \ud83d"]}, "has a caption that is no text: 'half a pair \\ud83d'"),
    ({"id": "7"}, "has the id '7', not a whole number"),
    ({"id": -1}, "has the id -1"),
    ({"id": 2**31}, "has the id 2147483648"),
    ({"id": True}, "has the id True"),
  ],
)
@pytest.mark.parametrize("name", REAL)
def test_an_invalid_entry_is_an_error_that_names_its_image(tmp_path, name, change, message):
  root = trees.make_tree(tmp_path, name)
  entries = trees.read_entries(root, name)
  entries[2] |= change
  trees.write_annotations(root, name, entries)
  with pytest.raises(ValueError, match="1 unusable entries: ") as error:
    schema.read_annotations(registry.layout_of(name), tmp_path)
  assert f"{entries[2][registry.layout_of(name).path_key]} {message}" in str(error.value)
  assert "\n" not in str(error.value)


def test_entries_without_a_path_are_identified_by_their_index(tmp_path):
  root = trees.make_tree(tmp_path, "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  entries[1] = "no object"
  entries[2]["file_path"] = entries[2].pop("img_path")  # the key in the other layouts
  trees.write_annotations(root, "rstp_reid", entries)
  with pytest.raises(
    ValueError, match="entry 1 is a string, not an object; entry 2 has no image path under 'img_path'"
  ):
    schema.read_annotations(registry.layout_of("rstp_reid"), tmp_path)


def test_all_invalid_entries_are_counted_and_three_are_listed(tmp_path):
  root = trees.make_tree(tmp_path, "cuhk_pedes")
  entries = [entry | {"captions": []} for entry in trees.read_entries(root, "cuhk_pedes")]
  trees.write_annotations(root, "cuhk_pedes", entries)
  with pytest.raises(ValueError, match=f"{len(entries)} unusable entries") as error:
    schema.read_annotations(registry.layout_of("cuhk_pedes"), tmp_path)
  assert str(error.value).count("has no caption") == 3


def test_missing_images_are_counted_and_three_are_listed(tmp_path):
  root = trees.make_tree(tmp_path, "cuhk_pedes")
  gone = [root / "imgs" / entry["file_path"] for entry in trees.read_entries(root, "cuhk_pedes")[:4]]
  for file in gone:
    file.unlink()
  with pytest.raises(FileNotFoundError, match="4 images that are not there") as error:
    schema.read_annotations(registry.layout_of("cuhk_pedes"), tmp_path)
  assert [str(file.relative_to(root / "imgs")) in str(error.value) for file in gone] == [True, True, True, False]


@pytest.mark.parametrize("raw", ["nothing", "."])
def test_a_missing_data_set_is_an_error_that_names_the_expected_folder(tmp_path, raw):
  with pytest.raises(FileNotFoundError, match=r"ICFG-PEDES/$"):
    schema.read_annotations(registry.layout_of("icfg_pedes"), tmp_path / raw)


@pytest.mark.parametrize("content", ["[", json.dumps({"train": []}), "[]", "3"])
def test_a_file_that_is_not_a_list_is_an_error(tmp_path, content):
  root = trees.make_tree(tmp_path, "cuhk_pedes")
  (root / "reid_raw.json").write_text(content)
  with pytest.raises(ValueError, match=r"reid_raw.json (is no JSON file|must hold a JSON list)"):
    schema.read_annotations(registry.layout_of("cuhk_pedes"), tmp_path)


def test_an_unknown_data_set_is_an_error_that_lists_the_known_ones():
  with pytest.raises(ValueError, match=r"unknown data set 'cuhk'; .* cuhk_pedes, icfg_pedes, rstp_reid"):
    registry.layout_of("cuhk")


@pytest.mark.parametrize("size", [(0, 128), (384, -1), (384,), (384.5, 128)])
def test_an_invalid_image_size_is_an_error(size):
  with pytest.raises(ValueError, match="image_size is"):
    schema.size_name(size)


def test_an_exception_in_the_reader_of_a_data_set_becomes_one_line_that_names_the_file(tmp_path):
  trees.make_tree(tmp_path, "cuhk_pedes")
  layout = dataclasses.replace(
    registry.layout_of("cuhk_pedes"), read_entries=lambda file: json.loads(file.read_text())["images"]
  )
  with pytest.raises(
    ValueError, match=r"reid_raw\.json does not have the layout of CUHK-PEDES \(TypeError: .*get it again, or"
  ):
    schema.read_annotations(layout, tmp_path)
