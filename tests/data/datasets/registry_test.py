"""Raw data by name: published layouts and custom data are read through the same interface."""

import errno
import os
import pathlib

import pytest

from configs import custom as config
from tests.data import trees
from tireid_jax.data.datasets import custom, registry
from tireid_jax.data.prepared import splits
from tireid_jax.data.raw import schema
from tireid_jax.errors import DiskError


def test_a_published_layout_is_found_and_read(tmp_path):
  root = trees.make_tree(tmp_path, "icfg_pedes")
  data = registry.find("icfg_pedes", tmp_path)
  assert (data.annotations, data.images) == (root / "ICFG-PEDES.json", root / "imgs")
  assert data.read() == schema.read_annotations(data.layout, tmp_path)


def test_custom_data_is_found_and_read_with_its_settings(tmp_path):
  (tmp_path / "images").mkdir()
  for n in range(9):
    (tmp_path / "images" / f"{n}.jpg").touch()
  rows = "".join(f"{n}.jpg,p{n},A man.\n" for n in range(10))
  (tmp_path / "annotations.csv").write_text(f"image,id,caption\n{rows}")
  settings = config.get_config().custom
  data = registry.find("custom_shop", tmp_path, settings)
  problems = []
  assert data.read(problems=problems) == custom.read(settings, tmp_path, problems=[])
  assert [str(problem) for problem in problems] == [f"9.jpg is not there below {tmp_path / 'images'}"]
  assert (data.layout.name, data.annotations, data.images) == (
    "custom_shop",
    tmp_path / "annotations.csv",
    tmp_path / "images",
  )


def test_custom_data_without_settings_is_an_error_that_names_the_config(tmp_path):
  with pytest.raises(ValueError, match=r"custom is custom data, .*; give --config=configs/custom\.py"):
    registry.find("custom", tmp_path)


@pytest.mark.parametrize("name", ["cuhk_pedes", "custom"])
def test_a_folder_without_permission_to_search_raises_one_line(tmp_path, monkeypatch, name):
  def deny(path):  # as Python 3.11 does; later versions return False
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

  monkeypatch.setattr(pathlib.Path, "is_file", deny)
  with pytest.raises(DiskError, match="permission denied; change its permissions"):
    registry.find(name, tmp_path, config.get_config().custom)
  with pytest.raises(DiskError, match="permission denied; change its permissions"):
    splits.dataset_info(tmp_path, name, (24, 16))


def test_data_sets_with_a_common_source_are_found_in_both_directions_and_no_others():
  found = {name: registry.same_source(name) for name in (*registry.LAYOUTS, "custom")}
  assert {name: others for name, others in found.items() if others} == {
    "icfg_pedes": ["rstp_reid"],
    "rstp_reid": ["icfg_pedes"],
  }
