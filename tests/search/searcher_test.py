"""A Searcher on a small model: what evaluate says, what changes between two updates, and bad input."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests import small_disk
from tests.commands import ROOT, environment
from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.data.prepared import images, splits
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding
from tireid_jax.export import export_stage
from tireid_jax.search import Query, Searcher, Where, encoders
from tireid_jax.search import index as index_lib
from tireid_jax.training import loading

NAMES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return searching.make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def other_run(tmp_path_factory):
  return searching.make_run(tmp_path_factory.mktemp("other"), embedding_size=16)


@pytest.fixture
def gallery(tmp_path):
  return searching.make_pictures(tmp_path / "gallery", NAMES)


@pytest.fixture(scope="module")
def model(run):
  """The encoders of the run, whose programs are compiled once for all tests."""
  return encoders.open_encoders(workdir=run)


@pytest.fixture
def make(model):
  """A function that opens a Searcher without loading the model again."""

  def open_index(folder, gallery=None, dtype=""):
    index = index_lib.Index(
      folder,
      identity=model.identity,
      gallery=gallery,
      embedding_size=model.embedding_size,
      mesh=model.mesh,
      dtype=dtype,
    )
    return Searcher(model, index)

  return open_index


@pytest.fixture
def searcher(make, gallery, tmp_path):
  opened = make(tmp_path / "index", gallery, "float32")
  opened.update()
  return opened


def open_with(run, gallery, **arguments):
  return Searcher.open(workdir=run, gallery=gallery, **arguments)


def paths(results):
  return [result.path for result in results]


def test_recall_over_all_queries_of_a_test_split_is_that_of_evaluate(run, tmp_path):
  sizes = {"seed": 3, "num_train_ids": 1, "num_val_ids": 1, "num_test_ids": 12, "images_per_id": 2}
  raw = toy.write_pedes(tmp_path / "raw", **sizes, num_workers=1)
  prepare("toy_pedes", tmp_path / "raw", tmp_path / "data", searching.SIZE, show_progress=False)
  split = splits.open_split(tmp_path / "data", "toy_pedes", searching.SIZE, "test")
  model, variables, config, mesh, _ = loading.load_stage(run, "2")
  encoders = embedding.Encoders(model, mesh, 16)
  _, _, scores = encoders.score(variables, split, config.data.caption_lengths)
  expected = embedding.summarize(scores)["t2i"]

  searcher = Searcher.open(workdir=run, gallery=raw / "imgs", index=tmp_path / "index", dtype="float32")
  searcher.add([raw / "imgs" / path for path in split.file_paths])
  identity = dict(zip(split.file_paths, split.person_id, strict=True))
  found = searcher.search_all(split.captions, top=10)
  wanted = split.person_id[split.caption_image]
  for k in (1, 5, 10):
    hits = [any(identity[path] == who for path in paths(each[:k])) for each, who in zip(found, wanted, strict=True)]
    assert 100 * np.mean(hits) == pytest.approx(expected[f"R@{k}"]), k


def test_an_exported_folder_ranks_as_the_run_that_it_came_from(run, searcher, gallery, tmp_path):
  export_stage(run, "2", tmp_path / "export")
  other = Searcher.open(pretrained=str(tmp_path / "export"), gallery=gallery, index=tmp_path / "other", dtype="float32")
  other.update()
  for query in ("a woman in a red coat", gallery / "b/3.png"):
    ours, theirs = searcher.search(query), other.search(query)
    assert paths(ours) == paths(theirs)
    np.testing.assert_allclose([r.score for r in ours], [r.score for r in theirs], atol=1e-5)


def test_an_image_finds_itself_first_and_pixels_count_as_its_file(searcher, gallery):
  (first, *_) = searcher.search(gallery / "b/4.png", top=2)
  assert (first.rank, first.path, first.file) == (1, "b/4.png", gallery / "b/4.png")
  assert first.score == pytest.approx(1.0, abs=1e-5)
  assert searcher.search(np.asarray(Image.open(gallery / "b/4.png")), top=2)[0] == first


def test_a_mix_ranks_by_the_weighted_sum_of_normalised_embeddings(searcher, gallery):
  sentence, image = "a red coat", gallery / "a/2.png"
  a, b = searcher.embed([sentence, image])
  expected = (2 * a - 0.5 * b) / np.linalg.norm(2 * a - 0.5 * b)
  (mixed,) = searcher.embed([Query([(2, sentence), (-0.5, image)])])
  np.testing.assert_allclose(mixed, expected, atol=1e-6)


def test_an_update_encodes_only_what_is_new_or_changed_and_drops_what_is_gone(searcher, gallery, make, monkeypatch):
  (gallery / "a/1.png").unlink()
  searching.make_pictures(gallery, ["b/3.png", "c/6.png"], seed=9)
  os.utime(gallery / "b/3.png", ns=(0, 1))
  (gallery / "c/7.png").write_bytes(b"no image")
  encoded = []
  encode = searcher.encoders.encode_images
  monkeypatch.setattr(searcher.encoders, "encode_images", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
  report = searcher.update()
  assert sum(encoded) == 2
  assert (report.num_added, report.num_changed, report.num_removed, report.num_unchanged) == (1, 1, 1, 3)
  assert [path for path, _ in report.unreadable] == ["c/7.png"]
  expected = ["a/2.png", "b/3.png", "b/4.png", "b/5.png", "c/6.png"]
  again = make(searcher.index.folder)
  for each in (searcher, again):
    assert sorted(paths(each.search("a coat"))) == expected
    assert each.search(gallery / "b/3.png")[0].path == "b/3.png"
  assert searcher.update(compact=True).num_unchanged == 5
  assert sorted(paths(searcher.search("a coat"))) == expected
  assert len(list(searcher.index.folder.glob("segment-*"))) == 1
  # A reader keeps what it has opened.
  assert sorted(paths(again.search("a coat"))) == expected


def test_boxes_of_frames_are_cropped_and_filtered_by_camera_time_and_folder(make, tmp_path, monkeypatch):
  gallery = searching.make_pictures(tmp_path / "frames", ["x/1.png", "y/2.png"])
  table = tmp_path / "boxes.csv"
  table.write_text(
    "path,x,y,w,h,camera,time\nx/1.png,2,4,10,20,c1,2026-05-01T08:00\nx/1.png,0,0,5,9,c1,2026-05-01T09:00\n"
    "y/2.png,,,,,c2,\ngone.png,1,1,2,2,c2,\ny/2.png,90,90,5,5,c2,\n"
  )
  searcher = make(tmp_path / "index", gallery)
  decoded, decode = [], images.decode_boxes
  monkeypatch.setattr(images, "decode_boxes", lambda file, *a, **k: decoded.append(file.name) or decode(file, *a, **k))
  report = searcher.update(boxes=table)
  assert sorted(decoded) == ["1.png", "2.png"]
  assert [path for path, _ in report.unreadable] == ["gone.png", "y/2.png"]
  crop = np.asarray(Image.open(gallery / "x/1.png").crop((2, 4, 12, 24)))
  first = searcher.search(crop)[0]
  assert (first.path, first.box, first.camera, first.time) == ("x/1.png", (2, 4, 10, 20), "c1", "2026-05-01T08:00")
  assert first.score == pytest.approx(1.0, abs=0.01)

  def count(**where):
    return len(searcher.search("a coat", where=Where(**where)))

  assert [count(), count(cameras=("c2",)), count(cameras=("c9",)), count(folders=("x",))] == [3, 1, 0, 2]
  assert [count(start="2026-05-01T08:30"), count(end="2026-05-01T08:30"), count(start="2020-01-01")] == [1, 1, 2]


def test_exif_turns_a_photograph_upright_before_its_box_is_cropped(make, tmp_path):
  gallery = searching.make_pictures(tmp_path / "g", ["upright.png"])
  upright = Image.open(gallery / "upright.png")
  exif = Image.Exif()
  exif[0x0112] = 6
  upright.transpose(Image.Transpose.ROTATE_90).save(gallery / "turned.png", exif=exif)
  (tmp_path / "boxes.csv").write_text("path,x,y,w,h\nupright.png,3,5,9,30\nturned.png,3,5,9,30\n")
  searcher = make(tmp_path / "index", gallery)
  searcher.update(boxes=tmp_path / "boxes.csv")
  first, second = searcher.search("a coat")
  assert first.score == second.score


@pytest.mark.parametrize(
  ("act", "message"),
  [
    (lambda s, **_: s.search("red " * 80), "tokens, but this model reads 77"),
    (lambda s, **_: s.search(" "), "the query is empty"),
    (lambda s, **_: s.search("a coat", top=0), "^top=0 must be at least 1"),
    (lambda s, gallery, **_: s.search(gallery / "none.png"), "none.png is not there"),
    (lambda s, gallery, **_: s.search(gallery / "a\0.png"), "is not there"),
    (lambda s, other_run, **_: Searcher.open(workdir=other_run, index=s.index.folder), "made with another model"),
    (lambda run, gallery, **_: open_with(run, gallery / "a/1.png"), "is a file"),
    (
      lambda s, run, gallery, **_: Searcher.open(workdir=run, gallery=gallery / "a", index=s.index.folder),
      "is of the gal",
    ),
    (
      lambda s, run, gallery, **_: Searcher.open(workdir=run, gallery=gallery, index=gallery / "a"),
      "holds other files",
    ),
  ],
)
def test_bad_input_is_reported_in_a_line(act, message, searcher, run, other_run, gallery):
  with pytest.raises(UserError, match=message):
    act(s=searcher, run=run, other_run=other_run, gallery=gallery)


def test_a_gallery_that_is_empty_now_does_not_empty_its_index(searcher, gallery):
  gallery.rename(gallery.with_name("unmounted"))
  gallery.mkdir()
  with pytest.raises(UserError, match=r"holds no image, but the index \S+ has 5 of it; is its disk mounted\?"):
    searcher.update()
  assert len(searcher) == 5
  boxes = gallery / "boxes.csv"
  boxes.write_text("path,x,y,w,h,camera,time\na/1.png,0,0,9,9,c1,\n")
  with pytest.raises(UserError, match=r"holds no image that \S+boxes.csv lists, but the index \S+ has 5 of it"):
    searcher.update(boxes=boxes)
  assert len(searcher) == 5


def test_an_index_follows_its_moved_gallery_but_not_to_another_one(searcher, gallery, make, tmp_path):
  folder, moved = searcher.index.folder, tmp_path / "moved"
  other = searching.make_pictures(tmp_path / "other", ["c/6.png"])
  gallery.rename(moved)
  for act in (lambda s: s.update(), lambda s: s.add([other / "c/6.png"])):
    with pytest.raises(UserError, match=r"is of the gallery \S+gallery, which is not there now, and none of"):
      act(make(folder, other))
  report = make(folder, moved).update()
  assert (report.num_removed, report.num_unchanged) == (0, 5)
  searching.make_pictures(moved, ["c/6.png"])
  follower = make(folder, moved)
  assert follower.update().num_added == 1
  assert make(folder).gallery == moved
  shutil.rmtree(moved)
  searching.make_pictures(moved, ["d/7.png"])  # it is its gallery now, whatever it holds
  assert follower.update().num_removed == 6


def test_an_empty_gallery_cannot_be_searched(make, tmp_path):
  (tmp_path / "empty").mkdir()
  searcher = make(tmp_path / "index", tmp_path / "empty")
  assert searcher.update().num_added == 0
  with pytest.raises(UserError, match="is empty"):
    searcher.search("a coat")


# Adds the first two pictures, waits for the lock to be released or a kill, then is killed.
KILLED = """
import os, signal, sys
from tireid_jax.search import Searcher, index
index.SEGMENT_ROWS = 1  # each batch is a segment
from tireid_jax.search import searcher
searcher._BATCH = 2
opened = Searcher.open(workdir=sys.argv[1], gallery=sys.argv[2], index=sys.argv[3])
encode, calls = opened.encoders.encode_images, []
def encode_images(pixels):
  calls.append(1)
  if len(calls) == 2:
    if sys.argv[4] == "wait":
      print("writing", flush=True)
      sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
  return encode(pixels)
opened.encoders.encode_images = encode_images
opened.update()
"""


def start(how, *arguments):
  return subprocess.Popen(
    [sys.executable, "-c", KILLED, *map(str, arguments), how], cwd=ROOT, env=environment(), text=True,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip


def test_a_killed_update_keeps_its_segments_and_a_second_writer_is_turned_away(run, make, gallery, tmp_path):
  process = start("wait", run, gallery, tmp_path / "index")
  assert process.stdout.readline() == "writing\n"
  searcher = make(tmp_path / "index")
  assert len(searcher) == 2
  with pytest.raises(UserError, match="is in use by"):
    searcher.update()
  process.communicate("go\n")
  assert process.returncode == -signal.SIGKILL
  report = searcher.update()
  assert (report.num_added, report.num_unchanged) == (3, 2)
  assert sorted(paths(searcher.search("a coat"))) == sorted(NAMES)


def test_batches_are_collected_into_one_segment(make, tmp_path):
  gallery = searching.make_pictures(tmp_path / "many", [f"{number}.png" for number in range(130)])
  searcher = make(tmp_path / "index", gallery)
  assert searcher.update().num_added == 130  # three batches
  assert len(list(searcher.index.folder.glob("segment-*"))) == 1


def test_what_a_killed_writer_left_behind_is_deleted(searcher, gallery):
  stray = searcher.index.folder / "segment-77"
  stray.mkdir()
  searching.make_pictures(gallery, ["d/8.png"])
  searcher.update()
  assert not stray.exists()
  assert len(searcher) == 6


def test_many_small_segments_are_merged(searcher, gallery):
  for number in range(index_lib._MAX_SMALL + 1):
    searching.make_pictures(gallery, [f"e/{number}.png"], seed=number)
    searcher.add([gallery / f"e/{number}.png"])
  assert len(list(searcher.index.folder.glob("segment-*"))) <= index_lib._MAX_SMALL
  assert len(searcher) == len(NAMES) + index_lib._MAX_SMALL + 1
  assert searcher.search(gallery / "e/3.png")[0].path == "e/3.png"


@pytest.mark.skipif(not small_disk.can_mount(), reason="needs the right to mount a file system")
def test_a_full_disk_is_reported_and_leaves_the_index_as_it_was(make, gallery, tmp_path):
  with small_disk.SmallDisk(tmp_path / "disk", mib=2) as disk:
    searcher = make(disk.folder / "index", gallery)
    searcher.add([gallery / "a"])
    disk.fill()
    with pytest.raises(UserError, match="no space left on device"):
      searcher.update()
    (disk.folder / "ballast").unlink()
    again = make(disk.folder / "index")
    assert sorted(paths(again.search("a coat"))) == ["a/1.png", "a/2.png"]
    assert again.update().num_added == 3


def test_a_truncated_segment_is_reported(searcher, make):
  (vectors,) = searcher.index.folder.glob("segment-*/vectors.npy")
  vectors.write_bytes(vectors.read_bytes()[:-8])
  with pytest.raises(UserError, match="is damaged"):
    make(searcher.index.folder)


def test_damaged_entries_are_reported_when_they_are_read(searcher, make):
  (entries,) = searcher.index.folder.glob("segment-*/entries.npz")
  content = entries.read_bytes()
  entries.write_bytes(content.replace(b"a/1.png", b"a/0.png"))
  assert entries.read_bytes() != content
  with pytest.raises(UserError, match=r"segment-\d+ is damaged \(BadZipFile"):
    make(searcher.index.folder).search("a coat")
