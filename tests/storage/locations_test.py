"""What a path flag may be."""

import os
import pathlib
import pwd

import pytest
from etils import epath

from tireid_jax.data.prepared import splits
from tireid_jax.storage import locations


def test_a_local_path_is_expanded_and_one_in_a_bucket_keeps_its_slashes():
  assert locations.to_path("runs/a") == pathlib.Path("runs/a")
  assert locations.to_path("~/runs") == locations.local_path("~/runs", "--raw") == pathlib.Path.home() / "runs"
  path = locations.to_path("gs://my-bucket/runs/")
  assert (str(path), str(path / "stage1"), path.name) == ("gs://my-bucket/runs", "gs://my-bucket/runs/stage1", "runs")
  assert locations.to_path(path) is path
  assert str(locations.absolute(path)) == str(path)
  assert locations.absolute(pathlib.Path("runs")) == pathlib.Path.cwd() / "runs"
  assert (locations.is_remote(path), locations.is_remote(pathlib.Path("gs"))) == (True, False)


@pytest.mark.parametrize("value", ["s3://b/run", "http://b/run", "file:///run", "hf://b/run", "GS://b/run", "gs:/b"])
def test_other_schemes_are_rejected(value):
  message = f"--workdir={value} is not supported; give a local path or gs://BUCKET/FOLDER"
  with pytest.raises(ValueError, match=f"^{message}$"):
    locations.to_path(value, "--workdir")


@pytest.mark.parametrize("value", ["gs://", "gs:///run", "gs://Bucket/run", "gs://a b/run"])
def test_an_address_without_a_bucket_is_rejected(value):
  with pytest.raises(ValueError, match=f"^--to={value} names no bucket; give gs://BUCKET/FOLDER$"):
    locations.to_path(value, "--to")


@pytest.mark.parametrize("value", ["gs://bucket/data", "gs:/bucket/data", "https://host/data"])
def test_what_must_be_local_is_no_address(value):
  with pytest.raises(ValueError, match=f"^--raw={value} must be a local path; copy the files to a disk"):
    locations.local_path(value, "--raw")


def test_prepared_data_must_be_local():
  with pytest.raises(ValueError, match="^--config.data_dir=gs://b/data must be a local path"):
    splits.dataset_info("gs://b/data", "rstp_reid", (48, 24))


def test_a_user_that_there_is_not_is_named():
  with pytest.raises(ValueError, match="--to=~nobody-of-this-name/x: there is no such user"):
    locations.to_path("~nobody-of-this-name/x", "--to")


def test_a_file_of_a_user_without_a_name_has_a_size(tmp_path, monkeypatch):
  def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

  (tmp_path / "file").write_bytes(b"1234")
  monkeypatch.setattr(pwd, "getpwuid", unknown)
  found = epath.Path(tmp_path / "file").stat()
  assert (found.length, found.is_directory, found.owner) == (4, False, str(os.getuid()))
  assert epath.Path(tmp_path).stat().is_directory
