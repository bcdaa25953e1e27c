"""Preparation: unusable entries and images are rejected, or skipped and recorded."""

import json

import numpy as np
import pytest

from tests.data import trees
from tests.data.preparing import SIZE, files_below, run_command, run_prepare
from tireid_jax import errors
from tireid_jax.data.prepared import images, shards, splits


def _drop_data(root, entries):
  (root / "reid_raw.json").unlink()


def _drop_image(root, entries):
  (root / "imgs" / entries[0]["file_path"]).unlink()


def _damage_image(root, entries):
  (root / "imgs" / entries[-1]["file_path"]).write_bytes(b"no image")


def _drop_captions(root, entries):
  entries[0]["captions"] = []


def _rename_split(root, entries):
  entries[0]["split"] = "training"


FAULTS = [
  (_drop_data, FileNotFoundError, "holds neither CUHK-PEDES/ with reid_raw.json"),
  (_drop_image, ValueError, "1 missing image: .* is not there"),
  (_damage_image, ValueError, "does not decode as an image"),
  (_drop_captions, ValueError, "has no caption"),
  (_rename_split, ValueError, "has the split 'training', not one of"),
]


@pytest.mark.parametrize(("damage", "kind", "message"), FAULTS)
def test_unusable_raw_data_raises_one_line_and_nothing_is_written(tmp_path, damage, kind, message):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  trees.write_annotations(root, "cuhk_pedes", entries)
  damage(root, entries)
  if damage in (_drop_captions, _rename_split):
    (root / "reid_raw.json").write_text(json.dumps(entries))
  with pytest.raises(kind, match=message) as error:
    run_prepare("cuhk_pedes", tmp_path)
  assert "\n" not in str(error.value)
  assert files_below(tmp_path / "data") == []


def test_the_command_exits_with_status_2_and_one_line_for_unusable_data(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  (root / "imgs" / entries[0]["file_path"]).write_bytes(b"")
  done = run_command(tmp_path, f"--raw={tmp_path / 'raw'}")
  assert done.returncode == 2
  source, *errors = [line for line in done.stderr.splitlines() if "image/s" not in line]
  assert source.startswith("--config: read ")
  assert len(errors) == 1
  assert f"1 zero-size image: {entries[0]['file_path']} has 0 bytes. Correct them, or give --skip_bad" in errors[0]
  assert files_below(tmp_path / "data") == []


def damage_images(root, entries, num):
  """Deletes, truncates or empties the images of the first `num` entries, in turn; returns their paths."""
  paths = [entry["file_path"] for entry in entries[:num]]
  for index, path in enumerate(paths):
    file = root / "imgs" / path
    if index % 3 == 0:
      file.unlink()
    else:
      file.write_bytes(file.read_bytes()[:-30] if index % 3 == 1 else b"")
  return paths


def test_all_unusable_images_are_counted_and_ten_are_listed(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  paths = damage_images(root, trees.read_entries(root, "cuhk_pedes"), 12)
  with pytest.raises(ValueError) as error:
    run_prepare("cuhk_pedes", tmp_path)
  message = str(error.value)
  for counted in ("4 missing image", "4 truncated image", "4 zero-size image"):
    assert counted in message
  assert sum(path in message for path in paths) == 10
  assert "\n" not in message
  assert files_below(tmp_path / "data") == []


def test_skip_bad_skips_unusable_entries_and_records_the_reasons(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  paths = damage_images(root, entries, 3)
  entries[3]["captions"] = []
  trees.write_annotations(root, "cuhk_pedes", entries)
  done = run_command(tmp_path, f"--raw={tmp_path / 'raw'}", "--skip_bad")
  assert done.returncode == 0, done.stderr
  assert "CUHK-PEDES: 4 errors, " in done.stdout
  for kind in ("no caption", "missing image", "truncated image", "zero-size image"):
    assert f"       1  {kind}: " in done.stdout
  assert "4 entries or images left out" in done.stdout
  info = splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)
  assert len(info["left_out"]) == 4
  assert {"kind": "zero-size image", "place": paths[2], "detail": "has 0 bytes"} in info["left_out"]
  kept = [entry for entry in entries[4:] if entry["split"] == "train"]
  split = splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  assert split.file_paths == [entry["file_path"] for entry in kept]
  assert split.captions == [caption for entry in kept for caption in entry["captions"]]
  for image, entry in zip(split.images[:], kept, strict=True):
    np.testing.assert_array_equal(image, images.decode(root / "imgs" / entry["file_path"], SIZE).pixels)
  assert run_prepare("cuhk_pedes", tmp_path, skip_bad=True)
  with pytest.raises(ValueError, match="prepared with --skip_bad, and 4 entries or images were left out"):
    run_prepare("cuhk_pedes", tmp_path)


def test_a_shard_or_split_without_usable_images_is_omitted(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "SHARD_BYTES", 2 * SIZE[0] * SIZE[1] * 3)
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  trains = [entry for entry in entries if entry["split"] == "train"]
  for entry in trains[2:4] + [entry for entry in entries if entry["split"] == "val"]:
    (root / "imgs" / entry["img_path"]).write_bytes(b"")
  run_prepare("rstp_reid", tmp_path, skip_bad=True)
  split = splits.open_split(tmp_path / "data", "rstp_reid", SIZE, "train")
  assert split.file_paths == [entry["img_path"] for entry in trains[:2] + trains[4:]]
  assert "val" not in splits.dataset_info(tmp_path / "data", "rstp_reid", SIZE)["counts"]
  for entry in entries:
    (root / "imgs" / entry["img_path"]).write_bytes(b"")
  with pytest.raises(ValueError, match="names no image that can be used: .* has 0 bytes"):
    run_prepare("rstp_reid", tmp_path, data="other", skip_bad=True)


def test_without_skip_bad_the_report_is_printed_and_only_its_page_is_written(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  paths = damage_images(root, trees.read_entries(root, "cuhk_pedes"), 2)
  page = tmp_path / "page.html"
  done = run_command(tmp_path, f"--raw={tmp_path / 'raw'}", f"--page={page}")
  assert done.returncode == 2
  assert "CUHK-PEDES: 2 errors, " in done.stdout
  assert all(path in page.read_text() for path in paths)
  assert files_below(tmp_path / "data") == []


def test_an_entry_that_became_unusable_after_preparation_is_an_error(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  run_prepare("cuhk_pedes", tmp_path)
  entries = trees.read_entries(root, "cuhk_pedes")
  trees.write_annotations(root, "cuhk_pedes", [*entries, {**entries[0], "split": "training"}])
  with pytest.raises(ValueError, match="was prepared from other images or annotations"):
    run_prepare("cuhk_pedes", tmp_path)


@pytest.mark.parametrize(
  ("page", "message"),
  [("file/page.html", "file/page.html: .*; remove it"), ("folder", "folder: .*; give the path of a")],
)
@pytest.mark.parametrize("is_bad", [False, True])
def test_an_unwritable_page_raises_one_line_that_names_it(tmp_path, page, message, is_bad):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  if is_bad:
    _damage_image(root, trees.read_entries(root, "cuhk_pedes"))
  (tmp_path / "file").touch()
  (tmp_path / "folder").mkdir()
  with pytest.raises(errors.DiskError, match=message) as error:
    run_prepare("cuhk_pedes", tmp_path, page=str(tmp_path / page))
  assert "\n" not in str(error.value)
