"""The description of a prepared data set, when its files are damaged, altered or written by another version."""

import builtins
import copy
import errno
import io
import json
import os
import shutil

import pytest

from tests.data import trees
from tests.data.preparing import SIZE, run_prepare
from tireid_jax.data.prepared import recipe, splits
from tireid_jax.errors import DiskError

DELETED = object()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("recipe")
  trees.make_tree(root / "raw", "rstp_reid")
  run_prepare("rstp_reid", root)
  return root


@pytest.mark.parametrize(
  ("field", "value", "fault"),
  [
    ("fingerprint", DELETED, "fingerprint is missing"),
    ("fingerprint", 3, "fingerprint is '3'"),
    ("image_size", "24x16", "image_size is '24x16'"),
    ("image_size", [24.0, 16], "image_size is '[24.0, 16]'"),
    ("tokenizer", None, "tokenizer is no object"),
    ("tokenizer.end_token", True, "tokenizer.end_token is 'True'"),
    ("tokenizer.name", DELETED, "tokenizer.name is missing"),
    ("counts", [], "counts is '[]'"),
    ("counts.test", 7, "counts.test is no object"),
    ("counts.test.images", -1, "counts.test.images is '-1'"),
    ("counts.test.persons", 1, "there is no field counts.test.persons"),
    ("left_out", None, "left_out is 'None'"),
  ],
)
def test_a_field_that_is_missing_unknown_or_of_the_wrong_type_is_named(tmp_path, folder, field, value, fault):
  info = json.loads((splits.prepared_path(folder / "data", "rstp_reid", SIZE) / recipe.FILE).read_text())
  file, section = tmp_path / recipe.FILE, info
  *parts, last = field.split(".")
  for part in parts:
    section = section[part]
  if value is DELETED:
    del section[last]
  else:
    section[last] = copy.copy(value)
  file.write_text(json.dumps(info))
  with pytest.raises(ValueError) as error:
    recipe.read(file)
  assert str(error.value) == f"{file} is damaged ({fault}); remove {tmp_path} and prepare it again"


def test_fields_of_earlier_versions_are_accepted(tmp_path, folder):
  info = json.loads((splits.prepared_path(folder / "data", "rstp_reid", SIZE) / recipe.FILE).read_text())
  (tmp_path / recipe.FILE).write_text(json.dumps({**info, "raw_sizes": {}}))
  assert recipe.read(tmp_path / recipe.FILE) == {**info, "raw_sizes": {}}


def _damage_size(target):
  info = json.loads((target / recipe.FILE).read_text())
  (target / recipe.FILE).write_text(json.dumps({**info, "image_size": [10**6, 10**6]}))


def _refer_to_another_folder(target):
  text = (target / "dataset_info.json").read_text()
  shutil.copytree(target, target.parent / "other")
  (target / "dataset_info.json").write_text(text.replace('"{DATASET}', '"../other/{DATASET}'))


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda target: (target / recipe.FILE).write_text("{"), "dataset.json is damaged"),
    (_damage_size, "is of images of [1000000, 1000000] pixels; remove"),
    (lambda target: (target / "dataset_info.json").write_text("{"), "is damaged"),
    (lambda target: (target / "features.json").write_bytes(b"\xff"), "is damaged"),
    (lambda target: (target / "index_test.npz").write_bytes(b"PK"), "is damaged"),
    (lambda target: (target / "index_test.npz").unlink(), "is damaged (FileNotFoundError"),
    (lambda target: next(target.glob("*test.array*")).unlink(), "does not exist; remove the data set"),
    (lambda target: next(target.glob("*test.array*")).write_bytes(bytes(2**16)), "remove it and prepare it again"),
    (_refer_to_another_folder, "names records of test in another folder"),
  ],
)
def test_a_damaged_data_set_raises_one_line_that_says_what_to_do(tmp_path, folder, damage, message):
  shutil.copytree(folder / "data", tmp_path / "data")
  damage(splits.prepared_path(tmp_path / "data", "rstp_reid", SIZE))
  with pytest.raises(ValueError) as error:
    splits.open_split(tmp_path / "data", "rstp_reid", SIZE, "test")
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_files_of_a_data_set_may_be_symlinks(tmp_path, folder):
  shutil.copytree(folder / "data", tmp_path / "data")
  (tmp_path / "versions").mkdir()
  for number, file in enumerate(sorted(splits.prepared_path(tmp_path / "data", "rstp_reid", SIZE).iterdir())):
    file.rename(tmp_path / "versions" / str(number))
    file.symlink_to(tmp_path / "versions" / str(number))
  assert len(splits.open_split(tmp_path / "data", "rstp_reid", SIZE, "test").images)


@pytest.mark.parametrize("name", [recipe.FILE, "index_test.npz"])
def test_a_file_without_read_permission_is_not_called_damaged(folder, monkeypatch, name):
  def open_file(file, *arguments, **options):
    if os.path.basename(os.fspath(file)) == name:
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(file))
    return original(file, *arguments, **options)

  original = io.open
  for module in (builtins, io):  # pathlib uses one and NumPy the other
    monkeypatch.setattr(module, "open", open_file)
  with pytest.raises(DiskError, match="permission denied.*; change its permissions") as error:
    splits.open_split(folder / "data", "rstp_reid", SIZE, "test")
  assert "\n" not in str(error.value)
