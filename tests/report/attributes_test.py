"""The section on attributes of ToyPEDES, from its raw files and the ranking."""

import json
import types

import numpy as np
import pytest

from tests.ranked_results import scores
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.report import attributes

# Persons 1 and 2 with an image each; captions mention the color alone, five of person 1 and one of person 2.
COLOURS = {1: "red", 2: "blue"}
SPLIT = types.SimpleNamespace(
  name="toy_pedes", person_id=np.array([1, 2]), file_paths=["1.jpg", "2.jpg"], captions=[*"abcde", "f"],
  caption_image=np.array([0, 0, 0, 0, 0, 1]),
)  # fmt: skip
# Captions d and e of person 1 find the image of person 2.
SCORES = scores(np.array([1, 1, 1, 2, 2, 1]), np.array([1, 1, 1, 1, 1, 2]))
FOUND = types.SimpleNamespace(hardest_index=np.array([1, 1, 1, 1, 1, 0]))


@pytest.fixture
def folder(tmp_path):
  raw = tmp_path / "raw/ToyPEDES"
  raw.mkdir(parents=True)
  captions = {1: [*"abcde"], 2: ["f"]}
  entries = [{"file_path": f"{n}.jpg", "id": n, "captions": captions[n]} for n in COLOURS]
  truths = {}
  for number, colour in COLOURS.items():
    own = {"top_colour": colour}
    truths[f"{number}.jpg"] = {"attributes": own, "mentioned": [own] * len(captions[number])}
  (raw / "reid_raw.json").write_text(json.dumps(entries))
  (raw / "attributes.json").write_text(json.dumps(truths))
  return tmp_path


def section(folder, split=SPLIT, raw=""):
  return attributes.attributes_section(split, SCORES, FOUND, raw=raw, data_dir=str(folder / "data"))


def texts(rows):
  return [{name: cell.text for name, cell in row.items()} for row in rows.table]


def test_attributes_and_values_of_the_first_images_are_compared_with_the_captions(folder):
  bars, by_name, by_value = section(folder).parts
  # Four of six captions find the mentioned color, which half of the gallery has.
  assert [(bar.name, bar.value) for bar in bars.bars] == [("top_colour", "33%")]
  assert texts(by_name) == [
    {"attribute": "top_colour", "captions": "6", "R@1": "66.67", "R@1 without it": "-", "agrees": "66.67",
     "by chance": "50.00"},
  ]  # fmt: skip
  assert texts(by_value) == [
    {"value": "top_colour: red", "captions": "5", "agrees": "60.00", "by chance": "50.00", "found instead": "blue (2)"},
  ]  # fmt: skip


def test_the_raw_folder_can_be_given_and_is_missed_only_then(folder, tmp_path):
  assert section(tmp_path / "elsewhere", raw=str(folder / "raw")).parts
  without = section(tmp_path / "elsewhere")
  assert not without.parts
  assert "--raw=RAW" in without.hint
  with pytest.raises(MissingFileError, match="nowhere holds no attributes.json"):
    section(folder, raw="/nowhere")


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: path.write_text("{}")])
def test_a_raw_folder_that_was_not_given_and_cannot_be_read_is_only_a_line(folder, damage):
  damage(folder / "raw/ToyPEDES/attributes.json")
  found = section(folder)
  assert not found.parts
  assert found.hint.startswith("The true attributes are unknown: ")
  assert "is not what was prepared, or damaged" in found.hint
  with pytest.raises(UserError, match="is not what was prepared, or damaged"):
    section(folder, raw=str(folder / "raw"))


def test_another_data_set_has_no_such_section(folder):
  assert section(folder, split=types.SimpleNamespace(name="rstp_reid")) is None
