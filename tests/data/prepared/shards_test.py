"""Shards of decoded images: valid shards are reused, and outdated or incomplete ones are not."""

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
  """7 images of train and 3 of test; a shard holds 3 images."""
  monkeypatch.setattr(shards, "SHARD_BYTES", 3 * NUM_BYTES + NUM_BYTES // 2)
  rng = np.random.default_rng(0)
  records = []
  for number in range(10):
    file = tmp_path / "imgs" / f"{number}.jpg"
    write_image(file, rng)
    split = "train" if number < 7 else "test"
    records.append(
      schema.ImageRecord(split, number, file.name, (f"caption {number}", "é"), file, camera="c1", time="noon")
    )
  return records


def plan(records, tmp_path, size=SIZE, **options):
  return shards.Plan(records, size, tmp_path / "shards", **options)


def write(plan):
  return plan.write(name="mine", show_progress=False)


def test_a_plan_counts_missing_images_and_writes_nothing(records, tmp_path):
  first = plan(records, tmp_path)
  assert (first.num_images, first.num_missing) == (10, 10)
  assert first.num_bytes > 10 * NUM_BYTES
  assert not (tmp_path / "shards").exists()


def test_a_shard_contains_records_of_one_split_in_order_with_their_pixels(records, tmp_path):
  found, wrong = write(plan(records, tmp_path))
  assert wrong == []
  assert [(shard.split, [image.record for image in shard.images]) for shard in found] == [
    ("train", records[:3]), ("train", records[3:6]), ("train", records[6:7]), ("test", records[7:]),
  ]  # fmt: skip
  for shard in found:
    content = shard.file.read_bytes()
    for image in shard.images:
      decoded = images.decode(image.record.image_file, SIZE)
      assert content[image.position : image.position + NUM_BYTES] == decoded.pixels.tobytes()
      assert (image.size, image.digest) == (decoded.size, decoded.digest)
  written = sum(file.stat().st_size for file in (tmp_path / "shards").iterdir())
  assert written < plan(records, tmp_path / "elsewhere").num_bytes


def test_images_in_existing_shards_are_not_decoded_again(records, tmp_path, monkeypatch):
  first = write(plan(records, tmp_path))
  again = plan(records, tmp_path)
  assert (again.num_missing, again.num_bytes) == (0, 0)
  monkeypatch.setattr(images, "decode_all", lambda files, *_, **__: iter([1 / 0 for _ in files]))
  assert write(again) == first


@pytest.mark.parametrize("change", ["pixels", "time", "caption", "size", "exif"])
def test_changing_an_image_its_annotation_or_its_decoding_replaces_its_shard(records, tmp_path, change):
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
  assert len(after) == len(before)  # outdated shards are deleted
  assert len(after & before) == (len(before) - 2 if changed.num_missing == 3 else 0)


def test_files_that_a_killed_process_left_incomplete_are_removed(records, tmp_path):
  write(plan(records, tmp_path))
  (note,) = sorted((tmp_path / "shards").glob("*.json"))[:1]
  note.rename(note.with_name(f".{note.name}.17"))  # the name that `files.new_file` uses until the file is complete
  former = f"{note.stem}.part"  # the name in an earlier version
  for name in ("1.array_record", "2.json", former):
    (tmp_path / "shards" / name).write_text("half")
  before = {file.name for file in (tmp_path / "shards").iterdir()}
  write(plan(records, tmp_path))
  after = {file.name for file in (tmp_path / "shards").iterdir()}
  assert after == before - {f".{note.name}.17", "1.array_record", "2.json", former} | {note.name}


def test_an_unreadable_image_is_a_problem_and_the_others_are_not_affected(records, tmp_path):
  records[3].image_file.write_bytes(b"no image")
  records[8].image_file.unlink()
  found, wrong = write(plan(records, tmp_path))
  assert sorted(problem.place for problem in wrong) == ["3.jpg", "8.jpg"]
  assert [[image.record.person_id for image in shard.images] for shard in found] == [[0, 1, 2], [4, 5], [6], [7, 9]]
  image = found[1].images[0]
  pixels = found[1].file.read_bytes()[image.position : image.position + NUM_BYTES]
  assert pixels == images.decode(records[4].image_file, SIZE).pixels.tobytes()


def test_a_shard_with_only_unreadable_images_is_omitted(records, tmp_path):
  records[6].image_file.write_bytes(b"no image")
  found, (problem,) = write(plan(records, tmp_path))
  assert problem.place == "6.jpg"
  assert [len(shard.images) for shard in found] == [3, 3, 3]
  assert plan(records, tmp_path).num_missing == 0


def test_a_record_contains_all_annotations_in_the_format_of_tfds(records, tmp_path):
  pixels = np.arange(NUM_BYTES, dtype=np.uint8).reshape(*SIZE, 3)
  example = tf_example_pb2.Example.FromString(shards.serialize(records[5], pixels))
  feature = example.features.feature
  assert feature["image"].bytes_list.value[0] == pixels.tobytes()
  assert feature["person_id"].int64_list.value[:] == [5]
  assert feature["captions"].bytes_list.value[:] == [b"caption 5", "é".encode()]
  assert [feature[name].bytes_list.value[0] for name in ("file_path", "camera", "time")] == [b"5.jpg", b"c1", b"noon"]
