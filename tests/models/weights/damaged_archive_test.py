"""Archives that are truncated, damaged, or crafted to be misread."""

import struct
import zipfile

import numpy as np
import pytest

from tests.models.weights.archives import (
  ARCHIVES,
  SIX,
  Storage,
  error_message,
  named,
  pickled,
  six,
  tensor,
  write_archive,
)
from tireid_jax.models.weights import archive
from tireid_jax.models.weights.tensor import Tensor


@pytest.mark.parametrize("fraction", [0.2, 0.6, 0.9, 0.99])
def test_a_truncated_archive_raises_one_line(tmp_path, fraction):
  data = (ARCHIVES / "checkpoint.pt").read_bytes()
  (tmp_path / "cut.pt").write_bytes(data[: int(len(data) * fraction)])
  assert "cut.pt is damaged or truncated" in error_message(tmp_path / "cut.pt")
  assert not archive.is_archive(tmp_path / "cut.pt")


def assert_read_or_one_line(path):
  """Checks that the tensors of a file have their declared shapes, or that the error is one line with its path."""
  message = str(path)
  try:
    leaves = named(archive.read(path)[0], Tensor).values()
    assert all(leaf.read().shape == leaf.shape for leaf in leaves)
  except ValueError as error:
    message = str(error)
  assert str(path) in message
  assert "\n" not in message


@pytest.mark.parametrize("name", ["checkpoint", "traced"])
def test_a_damaged_archive_is_read_or_raises_one_line(tmp_path, name):
  data, rng = (ARCHIVES / f"{name}.pt").read_bytes(), np.random.default_rng(0)
  for _ in range(300):
    damaged = bytearray(data)
    for position in rng.integers(len(data), size=rng.integers(1, 4)):
      damaged[position] = rng.integers(256)
    path = tmp_path / "damaged.pt"
    path.write_bytes(damaged)
    assert_read_or_one_line(path)


def test_a_damaged_pickle_is_read_or_raises_one_line(tmp_path):
  with zipfile.ZipFile(ARCHIVES / "checkpoint.pt") as whole:
    data = whole.read("checkpoint/data.pkl")
    storages = {
      name.rpartition("/")[2]: np.frombuffer(whole.read(name), np.uint8)
      for name in whole.namelist()
      if name.startswith("checkpoint/data/")
    }
  rng = np.random.default_rng(0)
  for _ in range(300):
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] = rng.integers(256)
    path = write_archive(tmp_path / "damaged.pt", bytes(damaged), storages)
    assert_read_or_one_line(path)


def test_compressed_entries_raise(tmp_path):
  zeros = np.zeros(10**6, np.float32)
  path = tmp_path / "a.pt"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
    packed.writestr("a/data.pkl", pickled(tensor(Storage("0", 10**6), (10**6,), (1,))))
    packed.writestr("a/data/0", zeros.tobytes())
  assert "a.pt has the entry 'a/data.pkl', compressed" in error_message(path)


def test_a_storage_declared_larger_than_the_file_raises(tmp_path):
  path = write_archive(tmp_path / "a.pt", tensor(Storage("0", 10**8), (10**8,), (1,)), {"0": SIX})
  # Both sizes of the entry, compressed and uncompressed, in both headers.
  path.write_bytes(path.read_bytes().replace(struct.pack("<II", 24, 24), struct.pack("<II", 4 * 10**8, 4 * 10**8)))
  assert "the entry 'archive/data/0', compressed or larger than the file" in error_message(path)


def test_another_byte_order_raises(tmp_path):
  path = write_archive(tmp_path / "a.pt", six((6,), (1,)), {"0": SIX.byteswap()}, files={"byteorder": b"big"})
  assert "was written with byte order b'big'; save it again on a little-endian machine" in error_message(path)


def test_two_archives_in_one_file_raise(tmp_path):
  path = write_archive(tmp_path / "a.pt", {"a": 1})
  with zipfile.ZipFile(path, "a") as both:
    both.writestr("other/data.pkl", pickled({"a": 2}))
  assert "a zip file with 2 folders that contain a data.pkl" in error_message(path)


def test_quoted_content_of_a_damaged_archive_is_shortened(tmp_path):
  size = (2, *[75] * 800)
  write_archive(tmp_path / "sizes.pt", six(size, size), {"0": SIX})
  assert len(error_message(tmp_path / "sizes.pt")) < 600
  with zipfile.ZipFile(tmp_path / "names.pt", "w") as archive:
    archive.writestr("a/data.pkl", b"")
    archive.writestr(f"a/data/{'x' * 60_000}", b"0" * 100, zipfile.ZIP_DEFLATED)
  assert len(error_message(tmp_path / "names.pt")) < 600
