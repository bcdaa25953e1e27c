"""Galleries and tables of boxes that are not as they should be."""

import pytest
from PIL import Image

from tests.search import searching
from tireid_jax.errors import UserError
from tireid_jax.search import gallery
from tireid_jax.search.__main__ import _shown


def paths(entries):
  return [entry.path for entry in entries]


def test_links_to_nowhere_to_themselves_and_to_folders_above_are_left_out(tmp_path):
  searching.make_pictures(tmp_path, ["1.png", "a/2.png", ".hidden/3.png"])
  (tmp_path / "gone.png").symlink_to("nowhere")
  (tmp_path / "loop.png").symlink_to("loop.png")
  (tmp_path / "a/up").symlink_to("..")
  (tmp_path / "a/link.png").symlink_to("2.png")
  (tmp_path / "folder.png").mkdir()
  assert paths(gallery.scan([tmp_path], tmp_path)) == ["1.png", "a/2.png", "a/link.png"]


def test_files_and_folders_that_are_deleted_during_a_scan_are_left_out(tmp_path):
  searching.make_pictures(tmp_path, ["1.png", "2.png", "a/3.png", "b/4.png"])
  found = gallery.scan([tmp_path], tmp_path)
  assert next(found).path == "1.png"
  (tmp_path / "2.png").unlink()
  (tmp_path / "a/3.png").unlink()
  (tmp_path / "a").rmdir()
  assert paths(found) == ["b/4.png"]


def test_a_path_with_a_null_byte_in_a_table_is_missing(tmp_path):
  Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
  (tmp_path / "boxes.csv").write_text("path,x,y,w,h\n1.png,,,,\n\0.png,1,1,2,2\n")
  found, missing = gallery.read_boxes(tmp_path / "boxes.csv", tmp_path)
  assert (paths(found), missing) == (["1.png"], [("\0.png", "is not there")])


@pytest.mark.parametrize("time", ["nan", "-inf"])
def test_a_time_that_is_not_finite_is_reported_with_its_line(tmp_path, time):
  (tmp_path / "boxes.csv").write_text(f"path,x,y,w,h,time\n1.png,,,,,{time}\n")
  with pytest.raises(UserError, match=f"line 2: the time '{time}' is not finite; leave it empty"):
    gallery.read_boxes(tmp_path / "boxes.csv", tmp_path)


def test_a_path_is_shown_in_one_line_without_control_characters():
  assert _shown("ä b\n\x1b[31m\udcff.png") == "ä b\\n\\x1b[31m\\xff.png"
