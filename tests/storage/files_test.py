"""A file or a folder appears whole or not at all."""

import os

from tireid_jax.storage import files, locations


def test_a_file_is_written_whole_on_a_disk_and_in_a_bucket(tmp_path, bucket):
  for folder in (tmp_path / "a/b", locations.to_path(f"{bucket.url}/whole/a/b")):
    for content in (b"first", b"second"):
      files.write_bytes(folder / "file", content)
      assert (folder / "file").read_bytes() == content
  assert os.listdir(tmp_path / "a/b") == bucket.names(f"{bucket.url}/whole/a/b") == ["file"]
