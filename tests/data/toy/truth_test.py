"""The true attributes are those of the captions that were prepared, or an error says that they are not."""

import json

import pytest

from tireid_jax.data.toy import truth
from tireid_jax.errors import MissingFileError, UserError

ENTRIES = [
  {"file_path": "a.jpg", "id": 7, "captions": ["one", "two"]},
  {"file_path": "b.jpg", "id": 9, "captions": ["three"]},
]
TRUTHS = {
  "a.jpg": {"attributes": {"top": "coat"}, "mentioned": [{}, {"top": "vest"}]},
  "b.jpg": {"attributes": {"top": "shirt"}, "mentioned": [{"top": "shirt"}]},
}


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "ToyPEDES").mkdir()
  (tmp_path / "ToyPEDES/reid_raw.json").write_text(json.dumps(ENTRIES))
  (tmp_path / "ToyPEDES/attributes.json").write_text(json.dumps(TRUTHS))
  return tmp_path


def test_each_caption_has_the_attributes_that_it_mentions(folder):
  found = truth.read(truth.find_folder(folder), ["three", "one", "two"], ["b.jpg", "a.jpg", "a.jpg"])
  assert found.persons == {7: {"top": "coat"}, 9: {"top": "shirt"}}
  assert found.mentioned == [{"top": "shirt"}, {}, {"top": "vest"}]
  assert truth.find_folder(folder / "ToyPEDES") == truth.find_folder(folder)


@pytest.mark.parametrize(
  ("captions", "paths"),
  [(["two"], ["a.jpg"]), (["three"], ["c.jpg"]), (["three", "four"], ["b.jpg", "b.jpg"])],
)
def test_other_captions_images_or_more_captions_are_an_error(folder, captions, paths):
  with pytest.raises(UserError, match="is not what was prepared, or damaged"):
    truth.read(folder / "ToyPEDES", captions, paths)


def test_missing_and_damaged_files_are_errors(folder):
  with pytest.raises(MissingFileError, match="nowhere holds no attributes.json; give the folder that python -m"):
    truth.find_folder(folder / "nowhere")
  (folder / "ToyPEDES/attributes.json").write_text("{")
  with pytest.raises(UserError, match="damaged"):
    truth.read(folder / "ToyPEDES", ["three"], ["b.jpg"])


@pytest.mark.parametrize(
  ("file", "damage"),
  [
    ("reid_raw.json", [{**ENTRIES[1], "id": "anna"}]),
    ("attributes.json", {"b.jpg": {"attributes": ["shirt"], "mentioned": [{}]}}),
    ("attributes.json", {"b.jpg": {"attributes": {"top": ["shirt"]}, "mentioned": [{}]}}),
    ("attributes.json", {"b.jpg": {"attributes": {}, "mentioned": [{"top": None}]}}),
  ],
)
def test_files_of_another_form_are_errors(folder, file, damage):
  (folder / "ToyPEDES/reid_raw.json").write_text(json.dumps(ENTRIES[1:]))
  (folder / "ToyPEDES" / file).write_text(json.dumps(damage))
  with pytest.raises(UserError, match="is not what was prepared, or damaged"):
    truth.read(folder / "ToyPEDES", ["three"], ["b.jpg"])
