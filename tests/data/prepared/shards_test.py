"""Shards of decoded images: what is there is not decoded again, and nothing else is taken for it."""

import os

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from tests.data.trees import write_image
from tireid_jax.data.prepared import images, shards
from tireid_jax.data.raw import schema

SIZE = (12, 6)
NUM_BYTES = 12 * 6 * 3


@pytest.fixture
def records(tmp_path, monkeypatch):
  """7 images of train and 3 of test, of which a shard holds 3."""
  monkeypatch.setattr(shards, "SHARD_BYTES", 3 * NUM_BYTES + NUM_BYTES // 2)
  rng = np.random.default_rng(0)
  made = []
  for number in range(10):
    file = tmp_path / "imgs" / f"{number}.jpg"
    write_image(file, rng)
    split = "train" if number < 7 else "test"
    made.append(
      schema.ImageRecord(split, number, file.name, (f"caption {number}", "é"), file, camera="c1", time="noon")
    )
  return made


def plan(records, tmp_path, size=SIZE, **options):
  return shards.Plan(records, size, tmp_path / "shards", **options)


def write(made):
  return made.write(name="mine", show_progress=False)


def test_a_plan_tells_what_is_missing_and_writes_nothing(records, tmp_path):
  made = plan(records, tmp_path)
  assert (made.num_images, made.num_missing) == (10, 10)
  assert made.num_bytes > 10 * NUM_BYTES
  assert not (tmp_path / "shards").exists()


def test_shards_are_of_one_split_and_hold_its_records_in_order_with_their_pixels(records, tmp_path):
  found, wrong = write(plan(records, tmp_path))
  assert wrong == []
  assert [(shard.split, [row.record for row in shard.images]) for shard in found] == [
    ("train", records[:3]), ("train", records[3:6]), ("train", records[6:7]), ("test", records[7:]),
  ]  # fmt: skip
  for shard in found:
    content = shard.file.read_bytes()
    for row in shard.images:
      decoded = images.decode(row.record.image_file, SIZE)
      assert content[row.position : row.position + NUM_BYTES] == decoded.pixels.tobytes()
      assert (row.size, row.digest) == (decoded.size, decoded.digest)
  written = sum(file.stat().st_size for file in (tmp_path / "shards").iterdir())
  assert written < plan(records, tmp_path / "elsewhere").num_bytes


def test_what_is_there_is_not_decoded_again(records, tmp_path, monkeypatch):
  first = write(plan(records, tmp_path))
  again = plan(records, tmp_path)
  assert (again.num_missing, again.num_bytes) == (0, 0)
  monkeypatch.setattr(images, "decode_all", lambda files, *_, **__: iter([1 / 0 for _ in files]))
  assert write(again) == first


@pytest.mark.parametrize("change", ["pixels", "time", "caption", "size", "exif"])
def test_a_change_of_an_image_of_its_annotation_or_of_how_it_is_decoded_makes_other_shards(records, tmp_path, change):
  write(plan(records, tmp_path))
  before = set((tmp_path / "shards").iterdir())
  size, options = SIZE, {}
  if change == "pixels":
    write_image(records[4].image_file, np.random.default_rng(9))
  elif change == "time":
    os.utime(records[4].image_file, (1, 1))
  elif change == "caption":
    records[4] = schema.ImageRecord("train", 4, records[4].file_path, ("another",), records[4].image_file)
  elif change == "size":
    size = (6, 12)
  else:
    options = {"use_exif": False}
  changed = plan(records, tmp_path, size, **options)
  assert changed.num_missing == (3 if change in ("pixels", "time", "caption") else 10)
  write(changed)
  after = set((tmp_path / "shards").iterdir())
  assert len(after) == len(before)  # what is of no use any more is gone
  assert len(after & before) == (len(before) - 2 if changed.num_missing == 3 else 0)


def test_what_a_kill_left_half_written_is_removed(records, tmp_path):
  write(plan(records, tmp_path))
  (note,) = sorted((tmp_path / "shards").glob("*.json"))[:1]
  note.rename(note.with_name(f".{note.name}.17"))  # as `files.new_file` names it until it is whole
  former = f"{note.stem}.part"  # as a former version named it
  for name in ("1.array_record", "2.json", former):
    (tmp_path / "shards" / name).write_text("half")
  before = {file.name for file in (tmp_path / "shards").iterdir()}
  write(plan(records, tmp_path))
  after = {file.name for file in (tmp_path / "shards").iterdir()}
  assert after == before - {f".{note.name}.17", "1.array_record", "2.json", former} | {note.name}


def test_an_image_that_cannot_be_read_is_a_problem_and_the_others_keep_their_pixels(records, tmp_path):
  records[3].image_file.write_bytes(b"no image")
  records[8].image_file.unlink()
  found, wrong = write(plan(records, tmp_path))
  assert sorted(problem.place for problem in wrong) == ["3.jpg", "8.jpg"]
  assert [[row.record.person_id for row in shard.images] for shard in found] == [[0, 1, 2], [4, 5], [6], [7, 9]]
  row = found[1].images[0]
  pixels = found[1].file.read_bytes()[row.position : row.position + NUM_BYTES]
  assert pixels == images.decode(records[4].image_file, SIZE).pixels.tobytes()


def test_a_shard_of_unreadable_images_alone_is_left_out(records, tmp_path):
  records[6].image_file.write_bytes(b"no image")
  found, (problem,) = write(plan(records, tmp_path))
  assert problem.place == "6.jpg"
  assert [len(shard.images) for shard in found] == [3, 3, 3]
  assert plan(records, tmp_path).num_missing == 0


def test_a_record_has_all_that_is_annotated_as_tfds_reads_it(records, tmp_path):
  pixels = np.arange(NUM_BYTES, dtype=np.uint8).reshape(*SIZE, 3)
  example = tf_example_pb2.Example.FromString(shards.serialize(records[5], pixels))
  feature = example.features.feature
  assert feature["image"].bytes_list.value[0] == pixels.tobytes()
  assert feature["person_id"].int64_list.value[:] == [5]
  assert feature["captions"].bytes_list.value[:] == [b"caption 5", "é".encode()]
  assert [feature[name].bytes_list.value[0] for name in ("file_path", "camera", "time")] == [b"5.jpg", b"c1", b"noon"]
