"""Invalid annotation files and paths: each fault is reported, and all valid entries are still read."""

import json
import os

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.data import trees
from tireid_jax.data.datasets import registry
from tireid_jax.data.raw import cells, schema
from tireid_jax.data.raw.problems import Problem

LAYOUT = registry.layout_of("rstp_reid")


def entry(path, **changes):
  return {"img_path": path, "id": 1, "split": "train", "captions": ["a man in red"]} | changes


def read(tmp_path, entries, *, without=()):
  """Returns the records and problems of some entries; creates their images, except for those in `without`."""
  for item in entries:
    path = item.get("img_path") if isinstance(item, dict) else None
    if isinstance(path, str) and path not in without:
      file = tmp_path / "imgs" / path
      file.parent.mkdir(parents=True, exist_ok=True)
      file.touch()
  trees.write_annotations(tmp_path, LAYOUT, entries)
  problems = []
  return schema.read_annotations(LAYOUT, tmp_path, problems=problems), problems


def paths(records):
  return [record.file_path for record in records]


@pytest.mark.parametrize(
  ("bad", "kind", "place"),
  [
    ("a string", "unusable entry", "entry 1"),
    (None, "unusable entry", "entry 1"),
    ({"id": 1}, "unusable entry", "entry 1"),
    (entry(["x.jpg"]), "unusable entry", "entry 1"),
    (entry(""), "unusable entry", "entry 1"),
    (entry("x.jpg", id="1"), "unusable entry", "x.jpg"),
    (entry("x.jpg", id=1.5), "unusable entry", "x.jpg"),
    (entry("x.jpg", id=None), "unusable entry", "x.jpg"),
    (entry("x.jpg", split="trian"), "unknown split", "x.jpg"),
    (entry("x.jpg", split=["train"]), "unknown split", "x.jpg"),
    (entry("x.jpg", captions="a man in red"), "captions are a string", "x.jpg"),
    (entry("x.jpg", captions=[]), "no caption", "x.jpg"),
    (entry("x.jpg", captions={"0": "a man"}), "unusable entry", "x.jpg"),
    (entry("x.jpg", captions=[" \t"]), "empty caption", "x.jpg"),
    (entry("x.jpg", captions=[["a", "man"]]), "caption is no text", "x.jpg"),
    (entry("x.jpg", captions=["['a man', 'a coat']"]), "caption is a list", "x.jpg"),
    (entry("x.jpg", captions=["nan"]), "empty caption", "x.jpg"),
    (entry("x.jpg", id=float("nan")), "unusable entry", "x.jpg"),
  ],
)
def test_an_invalid_entry_is_skipped_and_reported_and_the_others_are_read(tmp_path, bad, kind, place):
  records, problems = read(tmp_path, [entry("a.jpg"), bad, entry("b.jpg")])
  assert paths(records) == ["a.jpg", "b.jpg"]
  assert [(problem.kind, problem.place) for problem in problems] == [(kind, place)]


def test_the_valid_captions_of_an_image_with_an_invalid_one_are_read(tmp_path):
  records, problems = read(tmp_path, [entry("a.jpg", captions=["a man", "", "a red coat"])])
  assert records[0].captions == ("a man", "a red coat")
  assert [problem.kind for problem in problems] == ["empty caption"]


@pytest.mark.parametrize("path", ["../secret.jpg", "a/../../secret.jpg", "{root}/imgs/a.jpg"])
def test_a_path_that_leaves_the_folder_is_rejected_even_if_the_file_exists(tmp_path, path):
  path = path.format(root=tmp_path)
  (tmp_path / "imgs" / "a").mkdir(parents=True)
  records, problems = read(tmp_path, [entry(path), entry("b.jpg")])
  assert paths(records) == ["b.jpg"]
  assert [(problem.kind, problem.place) for problem in problems] == [("path leaves the folder", path)]


@pytest.mark.parametrize(
  "path", ["two words/ a b .jpg", "Straße/人 é.jpg", "..a/b...jpg", 'quote\'s "x".jpg', "-n #%.jpg"]
)
def test_unusual_but_valid_paths_are_read_unchanged(tmp_path, path):
  records, problems = read(tmp_path, [entry(path)])
  assert (paths(records), problems) == ([path], [])
  assert records[0].image_file == tmp_path / "imgs" / path


@pytest.mark.parametrize("path", ["nul\0.jpg", "half \ud83d.jpg"])
def test_a_path_that_is_not_a_valid_file_name_is_unusable(tmp_path, path):
  records, problems = read(tmp_path, [entry(path)], without=(path,))
  assert records == []
  assert [str(problem) for problem in problems] == [f"entry 0 has an image path that is no text: {path!a}"]


def test_symlinks_are_followed_only_to_files(tmp_path):
  (tmp_path / "imgs" / "folder").mkdir(parents=True)
  (tmp_path / "elsewhere.jpg").touch()
  names = {"inside": "a.jpg", "outside": tmp_path / "elsewhere.jpg", "broken": "gone.jpg", "folder_link": "folder"}
  for name, target in names.items():
    (tmp_path / "imgs" / name).symlink_to(target)
  entries = [entry(name) for name in ("a.jpg", *names, "folder", "gone.jpg")]
  records, problems = read(tmp_path, entries, without=(*names, "folder", "gone.jpg"))
  assert paths(records) == ["a.jpg", "inside", "outside"]
  assert problems == [
    Problem("missing image", "broken", "is a link to nothing"),
    Problem("missing image", "folder_link", "is no file"),
    Problem("missing image", "folder", "is no file"),
    Problem("missing image", "gone.jpg", f"is not there below {tmp_path / 'imgs'}"),
  ]


@pytest.mark.parametrize(
  ("annotated", "named"),
  [
    ("imgs\\A.JPG", "; a.jpg is: correct the annotation"),
    ("Jose\u0301.jpg", "; Jos\u00e9.jpg is, in another Unicode form: correct the annotation"),
    ("other.jpg", ""),
  ],
)
def test_the_error_for_a_missing_image_names_the_folder_and_a_similar_file(tmp_path, annotated, named):
  entries = [entry("a.jpg"), entry("Jos\u00e9.jpg"), entry(annotated)]
  records, problems = read(tmp_path, entries, without=(annotated,))
  assert len(records) == 2
  assert [str(problem) for problem in problems] == [f"{annotated} is not there below {tmp_path / 'imgs'}{named}"]


def test_a_repeated_image_is_a_remark_and_a_contradicting_entry_is_an_error(tmp_path):
  entries = [entry("a.jpg"), entry("./a.jpg"), entry("a.jpg", id=2), entry("a.jpg", split="test")]
  records, problems = read(tmp_path, entries)
  assert paths(records) == ["a.jpg", "./a.jpg"]
  assert problems == [
    Problem("repeated image", "./a.jpg", "is given again"),
    Problem("conflicting entries", "a.jpg", "is train 1, and given again as train 2"),
    Problem("conflicting entries", "a.jpg", "is train 1, and given again as test 1"),
  ]


def test_names_that_differ_only_in_case_are_a_remark_if_they_are_different_files(tmp_path):
  records, problems = read(tmp_path, [entry("A/x.jpg"), entry("a/X.jpg")])
  assert paths(records) == ["A/x.jpg", "a/X.jpg"]
  assert problems == [Problem("names that collide by case", "a/X.jpg", "differs by case alone from A/x.jpg")]


def test_two_names_of_the_same_file_are_both_rejected(tmp_path):
  (tmp_path / "imgs").mkdir()
  (tmp_path / "imgs" / "a.jpg").touch()
  os.link(tmp_path / "imgs" / "a.jpg", tmp_path / "imgs" / "A.jpg")  # as on a case-insensitive file system
  records, problems = read(tmp_path, [entry("a.jpg"), entry("A.jpg", id=2), entry("b.jpg")])
  assert paths(records) == ["b.jpg"]
  assert problems == [Problem("one file under two names", "A.jpg", "is the same file as a.jpg")]


def test_a_data_set_with_only_remarks_is_read(tmp_path):
  _, problems = read(tmp_path, [entry("a.jpg"), entry("a.jpg"), entry("A.JPG")])
  assert len(problems) == 2
  assert paths(schema.read_annotations(LAYOUT, tmp_path)) == ["a.jpg", "a.jpg", "A.JPG"]


def test_a_byte_order_mark_is_ignored(tmp_path):
  _, _ = read(tmp_path, [entry("a.jpg")])
  file = tmp_path / LAYOUT.annotation_files[0]
  file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
  assert paths(schema.read_annotations(LAYOUT, tmp_path)) == ["a.jpg"]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b'[\n{"img_path": "\xe9.jpg"}]', "is no UTF-8 text (line 2: "),
    (json.dumps([entry("a.jpg")]).encode("utf-16"), "is no UTF-8 text (line 1: "),
    (b"", "is no JSON file"),
    (b"[" * 100_000, "is no JSON of images: its lists nest too deep"),
    (b"[1" + b"0" * 5000 + b"]", "is no JSON file"),
    (b'{"train": []}', "must hold a JSON list of images, not an object"),
    (b"[]", "must hold a JSON list of images, not an empty list"),
    (b"null", "must hold a JSON list of images, not null"),
  ],
)
@pytest.mark.parametrize("problems", [None, []])
def test_a_file_that_is_not_a_list_of_images_raises_one_line(tmp_path, content, message, problems):
  (tmp_path / LAYOUT.annotation_files[0]).write_bytes(content)
  with pytest.raises(ValueError) as error:
    schema.read_annotations(LAYOUT, tmp_path, problems=problems)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
  lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
  max_leaves=12,
)
NEARLY_VALID = st.fixed_dictionaries(
  {},
  optional={
    "img_path": st.sampled_from(["a.jpg", "A.jpg", "./a.jpg", "..", ".", "a.jpg/b", "x" * 300]) | JSON,
    "id": st.integers(-1, 3) | JSON,
    "split": st.sampled_from(schema.SPLITS) | JSON,
    "captions": st.lists(st.text(max_size=5) | JSON, max_size=3) | JSON,
  },
)


def assert_rejected(folder, errors):
  with pytest.raises(errors) as error:
    schema.read_annotations(LAYOUT, folder)
  assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("raw")
  read(root, [entry("a.jpg"), entry("A.jpg")])
  return root


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(content=JSON | st.lists(NEARLY_VALID | JSON, max_size=5))
def test_any_json_is_read_or_rejected_in_one_line(folder, content):
  (folder / LAYOUT.annotation_files[0]).write_text(json.dumps(content))
  if not isinstance(content, list) or not content:
    assert_rejected(folder, ValueError)
    return
  problems = []
  records = schema.read_annotations(LAYOUT, folder, problems=problems)
  assert len(records) + len(problems) >= len(content)
  assert all(str(problem).isprintable() for problem in problems)
  if any(problem.is_error for problem in problems):
    assert_rejected(folder, (ValueError, FileNotFoundError))
  else:
    assert schema.read_annotations(LAYOUT, folder) == records


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(content=st.binary(max_size=60))
def test_any_bytes_are_rejected_in_one_line(folder, content):
  (folder / LAYOUT.annotation_files[0]).write_bytes(content)
  assert_rejected(folder, ValueError)


CAPTION = st.text(min_size=1).filter(lambda text: not cells.is_missing(text) and not cells.is_list(text))
VALID = st.fixed_dictionaries(
  {
    "img_path": st.sampled_from(["a.jpg", "A.jpg"]),
    "id": st.just(1),
    "split": st.sampled_from(["train", "Train", "TRAIN"]),
    "captions": st.lists(CAPTION, min_size=1),
  },
  optional={"processed_tokens": JSON},
)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(entries=st.lists(VALID, min_size=1, max_size=5))
def test_valid_entries_are_read_unchanged(folder, entries):
  trees.write_annotations(folder, LAYOUT, entries)
  records = schema.read_annotations(LAYOUT, folder)
  assert [(r.file_path, r.person_id, list(r.captions)) for r in records] == [
    (e["img_path"], e["id"], e["captions"]) for e in entries
  ]
  assert {r.split for r in records} == {"train"}
