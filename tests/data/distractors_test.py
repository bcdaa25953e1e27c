"""Distractors, which are images of val and test without captions, from the annotation file to the metrics."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import custom as config
from tests.data.preparing import SIZE, run_prepare
from tireid_jax import metrics
from tireid_jax.data.datasets import custom
from tireid_jax.data.prepared import splits
from tireid_jax.data.raw import schema
from tireid_jax.evaluation import embedding, ranked_examples
from tireid_jax.reporting import run_report

# Image, identity, split, caption.
ROWS = [
  ("train/a.jpg", "anna", "train", "A woman in a red coat."),
  ("train/b.jpg", "björn", "train", "A man with a hat."),
  ("test/a.jpg", "carl", "test", "A man in blue jeans."),
  ("test/b.jpg", "carl", "test", ""),  # a match for carl's caption, but not a query
  ("test/c.jpg", "dora", "test", "A woman with a white bag."),
  ("test/d.jpg", "emil", "test", ""),  # an identity without queries
  ("test/e.jpg", "", "test", ""),  # no identity
  ("test/f.jpg", "zoe", "Test", ""),
]
TABLE = "image,id,split,caption\n" + "".join(",".join(row) + "\n" for row in ROWS)
ENTRIES = [
  {key: value for key, value in zip(("image", "id", "split", "caption"), row, strict=True) if value} for row in ROWS
]
FORMS = {
  "a.csv": TABLE,
  "a.tsv": TABLE.replace(",", "\t"),
  "a.json": json.dumps(ENTRIES),
  "a.jsonl": "\n".join(map(json.dumps, ENTRIES)),
  "nan.json": json.dumps([{"id": float("nan"), "caption": float("nan"), **entry} for entry in ENTRIES]),
  "lists.json": json.dumps(
    [{**entry, "caption": [entry["caption"]] if "caption" in entry else []} for entry in ENTRIES]
  ),
}


def write(folder, text, *, name="annotations.csv", size=(30, 10)):
  for number, (image, *_) in enumerate(ROWS):
    file = folder / "images" / image
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (20 * number, 255 - 20 * number, 40)).save(file)
  (folder / name).write_text(text)


def settings(name="annotations.csv"):
  settings_ = config.get_config().custom
  settings_.annotations = name
  return settings_


def prepare(tmp_path, text=TABLE, **options):
  write(tmp_path / "raw", text)
  return run_prepare("custom", tmp_path, settings=settings(), **options)


@pytest.mark.parametrize("name", FORMS)
def test_test_images_without_captions_are_read_with_or_without_an_identity(tmp_path, name):
  write(tmp_path, FORMS[name], name=name)
  records = custom.read(settings(name), tmp_path)
  assert [(r.file_path, r.split, r.person_id, r.is_distractor) for r in records] == [
    ("train/a.jpg", "train", 0, False),
    ("train/b.jpg", "train", 1, False),
    ("test/a.jpg", "test", 2, False),
    ("test/b.jpg", "test", 2, True),
    ("test/c.jpg", "test", 3, False),
    ("test/d.jpg", "test", 4, True),
    ("test/e.jpg", "test", schema.NO_PERSON, True),
    ("test/f.jpg", "test", 5, True),
  ]


@pytest.mark.parametrize(
  ("rows", "kinds"),
  [
    # Not in train, not in a split without any caption, and not if identities are assigned to splits at random.
    (["train/a.jpg,1,train,A man.", "train/b.jpg,1,train,"], ["no caption"]),
    (["train/a.jpg,1,train,A man.", "train/b.jpg,,train,"], ["unusable entry"]),
    (["train/a.jpg,1,train,A man.", "test/a.jpg,2,test,", "test/b.jpg,,test,"], ["no caption", "no caption"]),
    (["train/a.jpg,1,,A man.", "train/b.jpg,2,,A man.", "test/a.jpg,3,,A man.", "test/b.jpg,3,,"], ["no caption"]),
    (["train/a.jpg,1,,A man.", "train/b.jpg,2,,A man.", "test/a.jpg,3,,A man.", "test/b.jpg,,,"], ["unusable entry"]),
    # An unusable caption is not a missing one, and a query needs an identity.
    (["test/a.jpg,1,test,A man.", 'test/b.jpg,1,test,"[a, b]"'], ["caption is a list"]),
    (["test/a.jpg,1,test,A man.", "test/b.jpg,,test,A man."], ["unusable entry"]),
    (["test/a.jpg,1,test,A man.", "test/b.jpg,,test,", "test/b.jpg,2,test,A man."], ["conflicting entries"]),
  ],
)
def test_other_images_without_captions_are_errors(tmp_path, rows, kinds):
  write(tmp_path, "image,id,split,caption\n" + "\n".join(rows) + "\n")
  problems = []
  custom.read(settings(), tmp_path, problems=problems)
  assert [problem.kind for problem in problems] == kinds


def test_distractors_are_prepared_and_counted_but_excluded_from_the_identities(tmp_path):
  target = prepare(tmp_path)
  split = splits.open_split(tmp_path / "data", "custom", SIZE, "test")
  assert split.person_id.tolist() == [2, 2, 3, 4, -1, 5]
  assert split.caption_image.tolist() == [0, 2]
  assert (split.described.tolist(), split.num_distractors) == ([0, 2], 4)
  assert len(split.images) == 6
  info = json.loads((target / splits.INFO_FILE).read_text())
  assert info["counts"]["test"] == {"ids": 4, "images": 6, "captions": 2}
  assert info["report"]["distractors"] == {"test": 4}
  lines = [line.split() for line in (target / splits.REPORT_FILE).read_text().splitlines()]
  assert lines[1:4] == [
    ["split", "ids", "images", "captions", "distractors"], ["train", "2", "2", "2", "0"], ["test", "4", "6", "2", "4"]
  ]  # fmt: skip
  assert "identity -1" not in (target / splits.REPORT_FILE).read_text() + (target / splits.REPORT_PAGE).read_text()
  assert "no identity, distractor" in (target / splits.REPORT_PAGE).read_text()


def test_the_fingerprint_covers_distractors(tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  prepare(one)
  prepare(two, TABLE.replace("test/e.jpg,,test,\n", ""))
  prints = {splits.dataset_info(folder / "data", "custom", SIZE)["fingerprint"] for folder in (one, two)}
  assert len(prints) == 2


def test_a_split_with_only_distractors_is_rejected_before_training(tmp_path):
  write(tmp_path / "raw", TABLE)
  for name in ("a", "c"):
    (tmp_path / "raw/images/test" / f"{name}.jpg").unlink()
  run_prepare("custom", tmp_path, settings=settings(), skip_bad=True)
  with pytest.raises(ValueError, match="the test split of custom has no caption to be a query"):
    splits.check_split(tmp_path / "data", "custom", SIZE, "test")


class FixedEncoders(embedding.Encoders):
  """Encoders that return the given embeddings."""

  def __init__(self, image, text):
    self._embeddings = np.asarray(image, np.float32), np.asarray(text, np.float32)

  def encode(self, *_, **__):
    return self._embeddings


def test_distractors_are_ranked_but_are_not_queries(tmp_path):
  prepare(tmp_path)
  split = splits.open_split(tmp_path / "data", "custom", SIZE, "test")
  # Carl's caption finds a distractor without identity first, then his own distractor, then his described image; Dora's
  # caption finds another distractor first, then her image.
  image = [[0.7, 0.7], [0.9, 0.4], [0.1, 1], [0, 0.9], [1, 0], [0.3, 1]]
  text = [[1, 0], [0.3, 1]]
  image_embeddings, text_embeddings, scores = FixedEncoders(image, text).score(None, split, None)
  assert scores["t2i"].first_rank.tolist() == [2, 2]
  assert scores["t2i"].average_precision.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1 / 2])
  assert scores["i2t"].query_ids.tolist() == [2, 3]
  assert scores["i2t"].first_rank.tolist() == [2, 1]
  assert embedding.gallery_counts(split) == {"num_gallery": 6, "num_distractors": 4}
  without = metrics.retrieval_metrics(text, [image[0], image[2]], [2, 3], [2, 3])
  assert without["R@1"] == 100.0 > embedding.summarize(scores)["t2i"]["R@1"] == 0.0

  queries = ranked_examples.rank_queries([("best", 0)], scores["t2i"], image_embeddings, text_embeddings, split, top=3)
  assert [(hit.person_id, hit.is_correct) for hit in queries[0].hits] == [(-1, False), (2, True), (2, True)]
  run_report.write_report(tmp_path / "report.html", title="run", table=[{"run": "a", "R@1": 1.0}], queries=queries)
  page = (tmp_path / "report.html").read_text()
  assert "rank 1, wrong: identity none," in page
  assert "id none<" in page


def test_the_chance_level_covers_the_whole_gallery(tmp_path, capsys):
  prepare(tmp_path)
  embedding.warn_if_small(splits.open_split(tmp_path / "data", "custom", SIZE, "test"))
  # Of six images, two match one caption and one matches the other.
  assert "has 2 identities: R@1 is about 25 by chance alone" in "".join(capsys.readouterr())
