"""Marks become an annotation file that `data.prepare` reads."""

import json

import pytest

from tests.search import searching
from tireid_jax.configs import custom
from tireid_jax.data.prepare import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.search.entries import Entry
from tireid_jax.serve import marks
from tireid_jax.serve.errors import ApiError

RED, BLUE = "a red coat", "a blue coat"


def marked(path, caption, mark, **known):
  return marks.Marked(Entry(path, 0, 0, **known), caption, mark)


def lines(text):
  return [json.loads(line) for line in text.splitlines()]


def persons(exported):
  return {line["image"]: line["id"] for line in lines(exported.annotations)}


def test_only_this_person_shares_an_identity_and_wrong_images_are_listed_apart():
  exported = marks.export([
    marked("1.png", RED, "this", camera="c1", time="10"), marked("2.png", RED, "this"), marked("3.png", RED, "fits"),
    marked("4.png", RED, "fits"), marked("5.png", RED, "wrong"), marked("6.png", BLUE, "this"),
  ])  # fmt: skip
  found = persons(exported)
  assert found["1.png"] == found["2.png"]
  assert len(set(found.values())) == exported.num_persons == 4
  assert exported.num_images == 5
  assert lines(exported.annotations)[0] == {
    "image": "1.png", "id": "person-00001", "captions": [RED], "camera": "c1", "time": "10"
  }  # fmt: skip
  assert lines(exported.wrong) == [{"image": "5.png", "caption": RED}]


def test_descriptions_that_share_an_image_are_of_one_person():
  exported = marks.export([
    marked("1.png", RED, "this"), marked("2.png", BLUE, "this"), marked("3.png", "  a   hat\n", "this"),
    marked("3.png", RED, "this"), marked("2.png", "a hat", "this"), marked("1.png", BLUE, "wrong"),
  ])  # fmt: skip
  assert len(set(persons(exported).values())) == 1
  assert lines(exported.annotations)[2] == {"image": "3.png", "id": "person-00001", "captions": ["a hat", RED]}


def test_another_person_of_one_description_can_be_the_person_of_another():
  exported = marks.export([marked("1.png", RED, "this"), marked("2.png", RED, "fits"), marked("2.png", BLUE, "this")])
  assert persons(exported) == {"1.png": "person-00001", "2.png": "person-00002"}
  assert lines(exported.annotations)[1]["captions"] == [RED, BLUE]


@pytest.mark.parametrize(
  ("found", "message"),
  [
    ([marked("1.png", " ", "this")], "marked without a description"),
    ([marked("1.png", RED, "this", box=(0, 0, 1, 1))], "is a frame"),
    ([marked("/x/1.png", RED, "this")], "is not below the gallery"),
    ([marked("\udcff.png", RED, "fits")], r"\\udcff.png is not below the gallery or has characters"),
    ([marked("1.png", RED, "this"), marked("1.png", RED, "wrong")], "marked 'this' and 'wrong'"),
    (
      [marked("1.png", RED, "this"), marked("1.png", BLUE, "this"), marked("2.png", BLUE, "this"),
       marked("2.png", RED, "fits")],
      "marked as another person",
    ),
  ],
)  # fmt: skip
def test_marks_that_make_no_annotation_are_reported(found, message):
  with pytest.raises(ApiError, match=message):
    marks.export(found)


def test_prepare_reads_what_the_page_exports(client, searcher, tmp_path):
  """Through the API, as the page calls it, to the prepared splits."""
  results = client.post("/api/search", json={"text": RED, "top": 6}).json()["results"]
  kinds = ["this", "this", "fits", "fits", "fits", "wrong"]
  given = [{"image": result["id"], "caption": RED, "mark": kind} for result, kind in zip(results, kinds, strict=True)]
  answer = client.post("/api/annotations", json={"marks": given})
  assert answer.status_code == 200, answer.text
  (tmp_path / "annotations.jsonl").write_text(answer.json()["annotations"])
  settings = custom.get_config().custom
  settings.update({
    "annotations": "annotations.jsonl", "images": str(searcher.gallery), "val_share": 0.25, "test_share": 0.25
  })  # fmt: skip
  prepare("custom", tmp_path, tmp_path / "data", searching.SIZE, settings=settings, show_progress=False)
  opened = {
    name: splits.open_split(tmp_path / "data", "custom", searching.SIZE, name) for name in ("train", "val", "test")
  }
  paths = {path for split in opened.values() for path in split.file_paths}
  assert paths == {result["path"] for result in results[:5]}
  assert {caption for split in opened.values() for caption in split.captions} == {RED}
  groups = [
    {path for path, person in zip(split.file_paths, split.person_id, strict=True) if person == wanted}
    for split in opened.values()
    for wanted in set(split.person_id.tolist())
  ]
  assert sorted(map(len, groups)) == [1, 1, 1, 2]
  assert {results[0]["path"], results[1]["path"]} in groups


def test_marks_of_images_that_left_the_gallery_are_left_out_and_counted(client):
  (result, *_) = client.post("/api/search", json={"text": RED}).json()["results"]
  given = [{"image": image, "caption": RED, "mark": "this"} for image in ("0" * 24, result["id"])]
  answer = client.post("/api/annotations", json={"marks": given}).json()
  assert (answer["num_gone"], answer["num_images"]) == (1, 1)
  assert [line["image"] for line in lines(answer["annotations"])] == [result["path"]]


def test_many_long_marks_are_exported(client):
  """More than other requests may hold."""
  given = [{"image": "0" * 24, "caption": f"{number} {'x' * 300}", "mark": "wrong"} for number in range(6000)]
  assert client.post("/api/annotations", json={"marks": given}).json()["num_gone"] == 6000
