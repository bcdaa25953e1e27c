"""Which values path flags accept."""

import os
import pathlib
import pwd

import pytest
from etils import epath

from tireid_jax.data.prepared import splits
from tireid_jax.storage import locations


def test_local_paths_are_expanded_and_bucket_urls_keep_their_slashes():
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
def test_a_url_without_a_bucket_is_rejected(value):
  with pytest.raises(ValueError, match=f"^--to={value} names no bucket; give gs://BUCKET/FOLDER$"):
    locations.to_path(value, "--to")


@pytest.mark.parametrize("value", ["gs://bucket/data", "gs:/bucket/data", "https://host/data"])
def test_flags_for_local_paths_reject_urls(value):
  with pytest.raises(ValueError, match=f"^--raw={value} must be a local path; copy the files to a disk"):
    locations.local_path(value, "--raw")


def test_prepared_data_must_be_local():
  with pytest.raises(ValueError, match="^--config.data_dir=gs://b/data must be a local path"):
    splits.dataset_info("gs://b/data", "rstp_reid", (48, 24))


def test_an_unknown_user_is_named_in_the_error():
  with pytest.raises(ValueError, match="--to=~nobody-of-this-name/x: there is no such user"):
    locations.to_path("~nobody-of-this-name/x", "--to")


def test_stat_works_if_the_owner_has_no_user_name(tmp_path, monkeypatch):
  def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

  (tmp_path / "file").write_bytes(b"1234")
  monkeypatch.setattr(pwd, "getpwuid", unknown)
  found = epath.Path(tmp_path / "file").stat()
  assert (found.length, found.is_directory, found.owner) == (4, False, str(os.getuid()))
  assert epath.Path(tmp_path).stat().is_directory
