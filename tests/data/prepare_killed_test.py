"""Preparation is atomic: however it ends, there is a complete data set or none."""

import os
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tests import small_disk
from tests.data import trees
from tests.data.preparing import REPOSITORY, SIZE, contents, files_below, run_prepare
from tireid_jax.data.datasets import registry
from tireid_jax.data.preparation import metadata
from tireid_jax.data.prepared import builders, images, shards, splits
from tireid_jax.data.raw import schema
from tireid_jax.errors import DiskError
from tireid_jax.storage import lock


def _prepare_in_subprocess(tmp_path, log, *, data="data", die_after=None):
  """Prepares in another process, in shards of 4 images. It logs the names of decoded files to `log`.

  If `die_after` is given, the process kills itself after decoding that many images.
  """
  script = f"""
import os, signal
from tireid_jax.data import prepare
from tireid_jax.data.prepared import images, shards
shards.SHARD_BYTES = 4 * {SIZE[0] * SIZE[1] * 3}
os.cpu_count = lambda: 2  # so that no more than 8 images are decoded ahead of the shards
decode = images.decode_boxes
def decode_and_log(file, size, boxes, **options):
  with open({str(tmp_path / log)!r}, "a+") as decoded:
    if decoded.write(f"{{file.name}}\\n") and {die_after} and decoded.seek(0) == 0 and len(list(decoded)) > {die_after}:
      os.kill(os.getpid(), signal.SIGKILL)
  return decode(file, size, boxes, **options)
images.decode_boxes = decode_and_log
prepare.prepare("cuhk_pedes", {str(tmp_path / "raw")!r}, {str(tmp_path / data)!r}, {SIZE})
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
  return done, (tmp_path / log).read_text().split()


def test_a_killed_run_leaves_no_data_set_and_the_next_run_decodes_only_the_rest(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  done, _ = _prepare_in_subprocess(tmp_path, "first", die_after=17)
  assert done.returncode == -signal.SIGKILL
  assert sorted(os.listdir(tmp_path / "data" / "cuhk_pedes")) == [".preparing-24x16", lock.FILE]
  with pytest.raises(FileNotFoundError):
    splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  shards_done = len(list((tmp_path / "data" / "cuhk_pedes" / ".preparing-24x16" / "shards").glob("*.json")))
  assert shards_done > 0
  done, decoded = _prepare_in_subprocess(tmp_path, "second")
  assert done.returncode == 0, done.stderr
  assert f"{4 * shards_done}/30" in done.stderr  # the progress bar starts there
  assert len(decoded) == len(set(decoded)) == 30 - 4 * shards_done
  assert os.listdir(tmp_path / "data" / "cuhk_pedes") == ["24x16"]
  _prepare_in_subprocess(tmp_path, "untouched", data="again")
  assert contents(tmp_path / "data") == contents(tmp_path / "again")


def test_images_that_changed_after_a_killed_run_are_decoded_again(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  _prepare_in_subprocess(tmp_path, "first", die_after=17)
  first = next(entry for entry in trees.read_entries(root, "cuhk_pedes") if entry["split"] == "train")
  Image.new("RGB", (16, 24), (1, 2, 3)).save(root / "imgs" / first["file_path"], quality=100)
  _prepare_in_subprocess(tmp_path, "second")
  split = splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  np.testing.assert_array_equal(split.images[:1], images.decode(root / "imgs" / first["file_path"], SIZE).pixels[None])
  assert split.file_paths[0] == first["file_path"]
  assert split.images[0].std() < 3


def test_an_interrupted_run_keeps_the_decoded_images(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")

  def interrupt(*args, **kwargs):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(builders, "build", interrupt)
    with pytest.raises(KeyboardInterrupt):
      run_prepare("cuhk_pedes", tmp_path)
  monkeypatch.setattr(images, "decode_boxes", None)
  run_prepare("cuhk_pedes", tmp_path)
  assert splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)["counts"]["train"]["images"] == 16


def test_a_run_that_fails_in_its_last_step_leaves_nothing_behind(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")

  def fail(*args, **kwargs):
    raise OSError("no space left on device")

  monkeypatch.setattr(metadata, "complete", fail)
  with pytest.raises(OSError, match="no space left"):
    run_prepare("cuhk_pedes", tmp_path)
  assert files_below(tmp_path / "data") == []


def test_a_second_run_at_the_same_time_is_rejected(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  home = tmp_path / "data" / "cuhk_pedes"
  with lock.holding(home, "", ""):
    message = f"^{home} is in use by process {os.getpid()} on .*; wait for it to end, stop it, or give another --config"
    with pytest.raises(ValueError, match=message):
      run_prepare("cuhk_pedes", tmp_path)
    assert files_below(home) == [lock.FILE]
  run_prepare("cuhk_pedes", tmp_path)
  assert not (home / lock.FILE).exists()


def test_a_folder_that_is_not_a_prepared_data_set_is_not_touched(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = splits.prepared_path(tmp_path / "data", "cuhk_pedes", SIZE)
  target.mkdir(parents=True)
  (target / "thesis.txt").write_text("mine")
  with pytest.raises(ValueError, match=r"holds no dataset\.json; remove that folder"):
    run_prepare("cuhk_pedes", tmp_path)
  assert (target / "thesis.txt").read_text() == "mine"


def test_too_little_disk_space_is_an_error_before_anything_is_decoded(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  records = schema.read_annotations(registry.layout_of("cuhk_pedes"), tmp_path / "raw")
  needed = shards.Plan(records, SIZE, tmp_path / "none").num_bytes
  monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=needed - 1))
  with monkeypatch.context() as patch:
    patch.setattr(images, "decode_boxes", None)
    with pytest.raises(ValueError, match=r"preparing takes 0\.00 GiB, but the disk of .* has 0\.00 GiB; make room"):
      run_prepare("cuhk_pedes", tmp_path)
  assert files_below(tmp_path / "data") == []
  monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=needed))
  target = run_prepare("cuhk_pedes", tmp_path)
  assert sum(file.stat().st_size for file in target.iterdir()) < needed


@pytest.mark.skipif(not small_disk.can_mount(), reason="this process may not mount")
def test_a_read_only_disk_raises_one_line(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  with small_disk.SmallDisk(tmp_path / "data", mib=1) as disk:
    disk.set_read_only(True)
    with pytest.raises(DiskError) as read_only:
      run_prepare("cuhk_pedes", tmp_path)
  assert str(read_only.value).startswith(f"{tmp_path}/data/cuhk_pedes/24x16/")
  assert ": read-only file system" in str(read_only.value)


@pytest.mark.skipif(not small_disk.can_mount(), reason="this process may not mount")
def test_a_disk_that_fills_up_during_preparation_raises_one_line(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  with small_disk.SmallDisk(tmp_path / "data", mib=1) as disk:
    disk.fill(free_bytes=2**14)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**30))
    with pytest.raises(DiskError) as full:
      run_prepare("cuhk_pedes", tmp_path)
  assert str(full.value).startswith(f"{tmp_path}/data/cuhk_pedes/24x16/")
  assert ": no space left on device" in str(full.value)
