"""Files and folders are written atomically."""

import contextlib
import os

from tireid_jax.storage import files, locations


def test_files_are_written_completely_on_disk_and_in_a_bucket(tmp_path, bucket):
  for folder in (tmp_path / "a/b", locations.to_path(f"{bucket.url}/whole/a/b")):
    for content in (b"first", b"second"):
      files.write_bytes(folder / "file", content)
      assert (folder / "file").read_bytes() == content
  assert os.listdir(tmp_path / "a/b") == bucket.names(f"{bucket.url}/whole/a/b") == ["file"]


def test_a_failed_write_keeps_the_previous_file_and_leaves_no_temporary_file(tmp_path):
  files.write_text(tmp_path / "file", "before")
  with contextlib.suppress(KeyboardInterrupt), files.new_file(tmp_path / "file") as temporary:
    temporary.write_text("half")
    raise KeyboardInterrupt
  assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "before")]


def test_a_new_folder_is_complete_and_has_no_leftovers_of_a_killed_process(tmp_path):
  with contextlib.suppress(SystemExit), files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "half").touch()
    os.rename(temporary, tmp_path / "kept")  # as after SIGKILL, which prevents the cleanup
    raise SystemExit
  os.rename(tmp_path / "kept", temporary)
  with files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "whole").touch()
    assert not (tmp_path / "folder").exists()
  assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/whole"]


def test_a_folder_is_removed_if_writing_it_fails(tmp_path):
  with contextlib.suppress(KeyboardInterrupt), files.new_folder(tmp_path / "folder") as temporary:
    (temporary / "half").touch()
    raise KeyboardInterrupt
  assert list(tmp_path.iterdir()) == []


def test_writing_follows_a_symlink_and_writes_into_a_pipe(tmp_path):
  (tmp_path / "link").symlink_to(tmp_path / "target")
  files.write_text(tmp_path / "link", "through")
  assert (tmp_path / "link").is_symlink()
  assert (tmp_path / "target").read_text() == "through"
  os.mkfifo(tmp_path / "pipe")
  reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
  files.write_text(tmp_path / "pipe", "piped")
  assert os.read(reader, 100) == b"piped"
  os.close(reader)
