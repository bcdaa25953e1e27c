"""A file or a folder appears whole or not at all."""

import contextlib
import os

from tireid_jax.storage import files, locations


def test_a_file_is_written_whole_on_a_disk_and_in_a_bucket(tmp_path, bucket):
  for folder in (tmp_path / "a/b", locations.to_path(f"{bucket.url}/whole/a/b")):
    for content in (b"first", b"second"):
      files.write_bytes(folder / "file", content)
      assert (folder / "file").read_bytes() == content
  assert os.listdir(tmp_path / "a/b") == bucket.names(f"{bucket.url}/whole/a/b") == ["file"]


def test_a_block_that_fails_leaves_the_file_before_and_no_other(tmp_path):
  files.write_text(tmp_path / "file", "before")
  with contextlib.suppress(KeyboardInterrupt), files.new_file(tmp_path / "file") as temporary:
    temporary.write_text("half")
    raise KeyboardInterrupt
  assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "before")]


def test_a_folder_appears_whole_without_what_a_killed_process_left(tmp_path):
  with contextlib.suppress(SystemExit), files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "half").touch()
    os.rename(temporary, tmp_path / "kept")  # as SIGKILL would keep it
    raise SystemExit
  os.rename(tmp_path / "kept", temporary)
  with files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "whole").touch()
    assert not (tmp_path / "folder").exists()
  assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/whole"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
  with contextlib.suppress(KeyboardInterrupt), files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "half").touch()
    raise KeyboardInterrupt
  assert list(tmp_path.iterdir()) == []


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path):
  (tmp_path / "link").symlink_to(tmp_path / "target")
  files.write_text(tmp_path / "link", "through")
  assert (tmp_path / "link").is_symlink()
  assert (tmp_path / "target").read_text() == "through"
  os.mkfifo(tmp_path / "pipe")
  reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
  files.write_text(tmp_path / "pipe", "piped")
  assert os.read(reader, 100) == b"piped"
  os.close(reader)
