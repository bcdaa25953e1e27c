"""The doctor's report on a data set: its counts and problems, as text and as a page with images."""

import dataclasses
import html.parser
import io
import json
import shutil
import struct
import types

import numpy as np
import pytest
from PIL import Image

from tests.data import trees
from tireid_jax.data.checks import doctor, doctor_page
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import images, splits
from tireid_jax.data.raw import schema
from tireid_jax.data.raw.problems import Problem

CUHK = registry.layout_of("cuhk_pedes")
GOOD = "A man in a red coat."


def record(path, *, person_id=1, split="train", captions=(GOOD,), **more):
  return schema.ImageRecord(split, person_id, path, tuple(captions), f"imgs/{path}", **more)


def examine(records, found=(), *, layout=CUHK, **options):
  return doctor.examine(layout, records, list(found), **options)


def found(records, kind, **options):
  """Returns the problems of one kind, as text."""
  return [str(problem) for problem in examine(records, **options).problems if problem.kind == kind]


def test_counts_are_compared_with_the_published_ones_and_differences_reported():
  report = examine([record("a.jpg", person_id=2), record("b.jpg", person_id=3, split="test", captions=[GOOD] * 2)])
  assert report.counts == {"train": schema.Counts(1, 1, 1), "test": schema.Counts(1, 1, 2)}
  assert [(row["split"], row["ids"], row["captions published"]) for row in report.count_table()] == [
    ("train", "1", "68,126"),
    ("val", "missing", "6,158"),
    ("test", "1", "6,156"),
  ]
  assert report.notes == [
    "train has counts that differ from the published ones",
    "test has counts that differ from the published ones",
    "val is missing",
    "the smallest id is 2, in the published file it is 1",
  ]


def test_a_data_set_with_the_published_counts_has_no_notes():
  layout = dataclasses.replace(CUHK, published={"train": schema.Counts(1, 1, 1)})
  assert examine([record("a.jpg")], layout=layout).notes == []
  assert examine([record("a.jpg")], layout=registry.layout_of("custom")).count_table() == [
    {"split": "train", "ids": "1", "images": "1", "captions": "1"}
  ]


def test_images_with_the_same_content_are_duplicates_and_the_first_one_is_named():
  records = [
    record("a.jpg"), record("b.jpg"), record("c.jpg", person_id=2, split="test"), record("d.jpg"), record("a.jpg"),
    record("e.jpg"),
  ]  # fmt: skip
  digests = [b"1", b"1", b"1", b"2", b"1", b""]
  assert found(records, "duplicate image", image_digests=digests) == [
    "b.jpg has the content of a.jpg",
    "c.jpg has the content of a.jpg, with another identity and split",
  ]


def test_identities_in_several_splits_or_with_one_image_are_reported_by_their_annotated_name():
  records = [record("a.jpg"), record("b.jpg", split="test"), record("c.jpg", person_id=2, person="anna")]
  assert found(records, "identity in several splits") == ["identity 1 is in train and test"]
  assert found(records, "identity with one image") == ["identity anna has c.jpg alone, in train"]


@pytest.mark.parametrize(
  ("caption", "expected"),
  [
    (GOOD, []),
    ("Größe: 1,80 m – “très”", []),
    ("A man\tin\u00a0a\ncoat", []),
    ("red coat", [("short caption", 'has a caption of 2 words: "red coat"')]),
    ("A man\x07 in\u200b red", [("unprintable caption", r'has the caption "A man\x07 in\u200b red"')]),
    (
      "A cafÃ© behind him",
      [("wrongly decoded caption", 'has the caption "A cafÃ© behind him", which is read as "A café')],
    ),
    ("A caf\ufffd behind him", [("wrongly decoded caption", 'has the caption "A caf\ufffd behind him", which lost')]),
  ],
)
def test_unusual_captions_are_reported_as_remarks(caption, expected):
  problems = [p for p in examine([record("a.jpg", captions=[GOOD, caption])]).problems if "caption" in p.kind]
  assert [problem.kind for problem in problems] == [kind for kind, _ in expected]
  assert all(p.detail.startswith(detail) for p, (_, detail) in zip(problems, expected, strict=True))
  assert not any(problem.is_error for problem in problems)


def test_a_caption_is_long_only_if_it_has_more_than_twice_the_maximum_number_of_tokens():
  records = [record("a.jpg", captions=[GOOD, "Long one here."]), record("b.jpg")]
  assert found(records, "long caption", caption_lengths=[154, 155, 9]) == [
    'a.jpg has a caption of 155 tokens: "Long one here."'
  ]


def test_a_caption_of_ten_images_is_repeated_regardless_of_case_and_spaces():
  nine = [record(f"{n}.jpg", captions=["A  man WALKS.", "a man walks."]) for n in range(9)]
  assert found(nine, "repeated caption") == []
  assert found([*nine, record("9.jpg", captions=["a man walks."])], "repeated caption") == [
    '"a man walks." is a caption of 10 images'
  ]


def test_caption_lengths_are_counted_in_bins_and_truncated_captions_are_counted():
  report = examine([record("a.jpg")], caption_lengths=[11, 20, 21, 77, 78, 101, 5000, 41])
  assert report.caption_lengths == {
    "11-20": 2, "21-30": 1, "31-40": 0, "41-50": 1, "51-60": 0, "61-70": 0, "71-77": 1, "78-100": 1, "over 100": 2,
  }  # fmt: skip
  assert report.captions_line == "8 captions, of which 3 (37.50%) are cut at 77 tokens"


def test_image_sizes_ignore_images_of_unknown_size():
  sizes = [[100, 50], [0, 0], [300, 40], [15, 90], [200, 60], [90, 80]]
  report = examine([record(f"{n}.jpg") for n in range(6)], image_sizes=sizes)
  assert report.image_sizes["height"] == {"least": 15, "5%": 15, "median": 100, "95%": 300, "most": 300}
  assert report.image_sizes["width"]["most"] == 90
  assert report.image_heights == {"1-32": 1, "33-64": 0, "65-128": 2, "129-192": 0, "193-256": 1, "257-384": 1}
  assert [str(p) for p in report.problems if p.kind == "tiny image"] == ["3.jpg has 15x90 pixels"]


def test_a_report_without_any_image_can_be_written():
  report = examine([], [Problem("missing image", "a.jpg", "is not there")])
  assert (report.num_errors, report.verdict) == (1, "1 error, 0 remarks")
  assert "a.jpg is not there" in report.text()
  json.dumps(report.to_json())


def test_the_text_counts_problems_and_lists_ten_of_each_kind():
  missing = [Problem("missing image", f"{n}.jpg", "is not there") for n in range(1012)]
  report = examine(
    [record("x.jpg"), record("y.jpg")], missing, caption_lengths=[9, 12], image_sizes=[[100, 50]] * 2,
    num_bytes=3 * 2**20, layout=registry.layout_of("custom"),
  )  # fmt: skip
  assert report.text() == "\n".join(
    [
      "custom: 1,012 errors, 0 remarks",
      "split  ids  images  captions",
      "train    1       2         2",
      "",
      "errors, which cannot be used:",
      "   1,012  missing image: an image does not exist, or is no file",
      *(f"          {n}.jpg is not there" for n in range(10)),
      "          and 1,002 more",
      "",
      "2 captions, of which 0 (0.00%) are cut at 77 tokens",
      f"      1-10 tokens         1  {'#' * 40}",
      f"     11-20 tokens         1  {'#' * 40}",
      "",
      "height 100 to 100 pixels, median 100, 90% from 100 to 100; width 50 to 50 pixels, median 50, 90% from 50 to 50",
      f"    65-128 high         2  {'#' * 40}",
      "",
      "3.0 MiB on disk",
    ]
  )


def test_the_json_has_all_counts_and_lists_ten_problems_of_each_kind():
  missing = [Problem("missing image", f"{n}.jpg", "is not there") for n in range(12)]
  data = json.loads(json.dumps(examine([record("x.jpg")], missing, caption_lengths=[78]).to_json()))
  assert data["counts"] == {"train": {"ids": 1, "images": 1, "captions": 1}}
  assert (data["num_errors"], data["num_cut"], data["published"]["val"]["images"]) == (12, 1, 3078)
  assert data["problems"]["missing image"]["count"] == 12
  assert len(data["problems"]["missing image"]["first"]) == 10


def test_a_shared_image_source_is_a_warning_only_if_the_other_data_set_is_prepared(tmp_path):
  def put(name):
    folder = splits.prepared_path(tmp_path, name, (24, 16))
    folder.mkdir(parents=True)
    (folder / splits.INFO_FILE).touch()

  put("icfg_pedes")
  put("cuhk_pedes")
  siblings = {name: doctor.prepared_sibling(tmp_path, name) for name in registry.LAYOUTS}
  assert {name: sibling for name, sibling in siblings.items() if sibling} == {"rstp_reid": "icfg_pedes"}
  rstp = registry.layout_of("rstp_reid")
  assert "MSMT17" in examine([record("a.jpg")], layout=rstp, sibling="icfg_pedes").text()
  assert "MSMT17" not in examine([record("a.jpg")], layout=rstp).text()


def test_a_full_disk_is_an_error_with_the_required_and_the_free_space(tmp_path, monkeypatch):
  needed = round(5.56 * 2**30)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=2**30))
  with pytest.raises(
    ValueError, match=r"takes 5\.56 GiB, but the disk of .* has 1\.00 GiB; make room, or give another"
  ):
    doctor.check_space(tmp_path / "not" / "there", needed)
  doctor.check_space(tmp_path, 2**30)


class Page(html.parser.HTMLParser):
  """The tags of a page in order, and its text; raises if tags are not nested correctly."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self._open = [], "", []
    self.feed(text)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in ("meta", "img", "br"):
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data


def faulty_data_set(folder, name):
  """Writes a raw data set with several kinds of errors, and returns its folder of images."""
  root = trees.make_tree(folder, name)
  layout = registry.layout_of(name)
  entries = trees.read_entries(root, name)
  (root / "imgs" / entries[0][layout.path_key]).unlink()
  entries[1]["split"] = "trian"
  entries[2]["captions"] = "a man"
  entries[3]["captions"][0] = "<script>alert(1)</script>"
  entries[5][layout.path_key] = "../secret.jpg"
  shutil.copy(root / "imgs" / entries[3][layout.path_key], root / "secret.jpg")
  (root / "imgs" / entries[6][layout.path_key]).write_bytes(b"no image")
  entries.append(dict(entries[7]))
  trees.write_annotations(root, name, entries)
  return root / "imgs"


@pytest.mark.parametrize("name", ["cuhk_pedes", "icfg_pedes", "rstp_reid"])
def test_the_page_shows_errors_in_each_layout_with_images(tmp_path, name):
  images = faulty_data_set(tmp_path, name)
  layout, problems = registry.layout_of(name), []
  records = schema.read_annotations(layout, tmp_path, problems=problems)
  bad = next(r for r in records if r.image_file.read_bytes() == b"no image")
  records.remove(bad)
  problems.append(Problem("unreadable image", bad.file_path, "does not decode as an image"))
  lengths = [20 for r in records for _ in r.captions]
  report = doctor.examine(layout, records, problems, caption_lengths=lengths, image_sizes=[[90, 40]] * len(records))
  counted = {kind: group["count"] for kind, group in report.to_json()["problems"].items() if group["is_error"]}
  assert counted == {
    "path leaves the folder": 1, "unknown split": 1, "captions are a string": 1, "missing image": 1,
    "unreadable image": 1,
  }  # fmt: skip
  pictures = doctor_page.take_pictures(report, records, images)
  doctor_page.write_html(tmp_path / "out" / "report.html", report, pictures)
  assert [file.name for file in (tmp_path / "out").iterdir()] == ["report.html"]
  page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
  shown = {kind: sum(picture.heading == kind for picture in pictures) for kind in counted}
  # Only images that exist, decode and are below the folder can be shown.
  assert shown == {kind: int(kind in ("unknown split", "captions are a string")) for kind in counted}
  assert sum(tag == "img" for tag, _ in page.tags) == len(pictures)
  assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in page.tags if tag == "img")
  assert not any(tag in ("script", "link") for tag, _ in page.tags)
  assert all(kind in page.text for kind in report.to_json()["problems"])
  assert 'has a caption of 1 word: "<script>alert(1)</script>"' in page.text
  for split, counts in report.counts.items():
    assert f"Examples of {split}" in page.text
    num_samples = sum(picture.heading == split for picture in pictures)
    assert num_samples == min(doctor_page.NUM_SAMPLES, counts.images)


def test_a_sample_shows_its_captions_identity_camera_and_time(tmp_path):
  Image.new("RGB", (40, 90), (200, 0, 0)).save(tmp_path / "a.png")
  sample = dataclasses.replace(
    record("a.png", captions=["One <b>.", "Two."], camera="3", time="noon", person="anna"),
    image_file=tmp_path / "a.png",
  )
  (picture,) = [p for p in doctor_page.take_pictures(examine([sample]), [sample], tmp_path) if p.heading == "train"]
  assert picture.lines == ("a.png", "identity anna, camera 3, noon", "One <b>.", "Two.")
  assert picture.image.shape == (90, 40, 3)
  np.testing.assert_array_equal(picture.image[0, 0], (200, 0, 0))
  doctor_page.write_html(tmp_path / "r.html", examine([sample]), [picture])
  assert "One <b>." in Page((tmp_path / "r.html").read_text()).text


def test_text_that_cannot_be_encoded_does_not_prevent_the_page(tmp_path):
  report = examine([record("a.jpg")], [Problem("unusable entry", "half \ud83d", "is \ud83d & bad")])
  doctor_page.write_html(tmp_path / "r.html", report)
  assert r"half \ud83d is \ud83d & bad" in Page((tmp_path / "r.html").read_text()).text


# An invalid, fractional image width, which PIL cannot write back, and an orientation.
EXIF = (
  b"Exif\0\0MM\0*\0\0\0\x08\0\x02"
  + struct.pack(">HHIf", 0x0100, 11, 1, 1.5)
  + struct.pack(">HHIHxx", 0x0112, 3, 1, 6)
  + bytes(4)
)


def jpeg(segment=b"", **options):
  """Returns the content of a JPEG file of 40x90 pixels with this EXIF segment."""
  file = io.BytesIO()
  Image.new("RGB", (40, 90), (200, 0, 0)).save(file, "JPEG", **options)
  content = file.getvalue()
  return content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + content[2:]


def pictures_of(tmp_path, content):
  """Returns the Pictures of a data set with one image file."""
  (tmp_path / "a.jpg").write_bytes(content)
  sample = dataclasses.replace(record("a.jpg"), image_file=tmp_path / "a.jpg")
  return [p for p in doctor_page.take_pictures(examine([sample]), [sample], tmp_path) if p.heading == "train"]


def test_an_image_with_damaged_exif_data_is_shown(tmp_path):
  (picture,) = pictures_of(tmp_path, jpeg(EXIF))
  assert picture.image.shape == (90, 40, 3)


@pytest.mark.parametrize("error", [struct.error, RuntimeError, MemoryError, TypeError])
def test_an_image_for_which_pil_raises_is_omitted_from_the_page(tmp_path, monkeypatch, error):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(Image.Image, "convert", fail)
  assert pictures_of(tmp_path, jpeg()) == []


@pytest.mark.parametrize(("progressive", "is_shown"), [(False, True), (True, False)])
def test_a_large_image_is_shown_only_if_it_can_be_decoded_at_reduced_size(tmp_path, monkeypatch, progressive, is_shown):
  monkeypatch.setattr(images, "MAX_PIXELS", 1000)
  assert bool(pictures_of(tmp_path, jpeg(progressive=progressive))) == is_shown
