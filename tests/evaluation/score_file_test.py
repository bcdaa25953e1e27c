"""A score file is read back unchanged; a damaged file or another kind of file is reported in one line."""

import dataclasses
import errno
import io
import os
import re
import zipfile

import numpy as np
import pytest

from tests.ranked_results import ranks, result, write_result
from tireid_jax import errors, metrics
from tireid_jax.evaluation import score_file


def test_scores_are_read_back_unchanged(tmp_path):
  written = result(ranks(0.5, 0))
  read = score_file.read(write_result(tmp_path / "dump.npz", written))
  assert (read.dataset, read.split, read.fingerprint) == ("toy_pedes", "test", "f00")
  assert read.scores["i2t"].summary() == written.scores["i2t"].summary()


@pytest.mark.parametrize(
  "write",
  [
    lambda path: np.savez(path, x=1),
    lambda path: np.save(path.open("wb"), np.zeros(3)),
    lambda path: path.write_text("text"),
    lambda path: path.write_text(""),
    lambda path: path.write_bytes(b"PK\3\4 torn"),
  ],
)
def test_another_kind_of_file_raises(tmp_path, write):
  path = tmp_path / "other.npz"
  write(path)
  with pytest.raises(ValueError, match="other.npz holds no ranks of a split"):
    score_file.read(path)


def write_with_arrays(path, **arrays):
  """Writes a score file in which some arrays are replaced."""
  write_result(path, result(ranks(0.5, 0)))
  with np.load(path) as found:
    np.savez_compressed(path, **{**found, **arrays})


@pytest.mark.parametrize(
  "damage",
  [
    # These cause errors in zipfile, zlib and NumPy, as real damaged files did.
    lambda path, content: path.write_bytes(re.sub(rb"(?s)(PK\x01\x02..).", lambda found: found[1] + b"\x8d", content)),
    lambda path, content: path.write_bytes(content[:60] + bytes(20) + content[80:]),
    lambda path, content: path.write_bytes(content.replace(b"\x08\0", b"\x63\0")),
    lambda path, _: write_with_arrays(path, t2i_query_ids=np.int64(3)),
    lambda path, _: write_with_arrays(path, t2i_query_ids=np.zeros((2, 2))),
    lambda path, _: write_with_arrays(path, t2i_first_rank=np.arange(3)),
    lambda path, _: write_with_arrays(path, i2t_average_precision=np.array(["a"] * 8)),
    lambda path, _: write_with_arrays(
      path, **{f"t2i_{field.name}": [] for field in dataclasses.fields(metrics.QueryScores)}
    ),
  ],
)
def test_a_damaged_score_file_raises_one_line(tmp_path, damage):
  path = tmp_path / "ranks.npz"
  write_result(path, result(ranks(0.5, 0)))
  content = path.read_bytes()
  damage(path, content)
  assert path.read_bytes() != content
  with pytest.raises(ValueError, match=r"ranks\.npz holds no ranks of a split \(.*\); give a file"):
    score_file.read(path)


def test_an_array_declared_larger_than_memory_raises_one_line(tmp_path):
  path = tmp_path / "ranks.npz"
  write_result(path, result(ranks(0.5, 0)))
  with zipfile.ZipFile(path) as whole:
    members = {name: whole.read(name) for name in whole.namelist()}
  shape = np.lib.format.header_data_from_array_1_0(np.zeros(3, np.int64)) | {"shape": (2**50,)}
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, shape)
  with zipfile.ZipFile(path, "w") as whole:
    for name, content in {**members, "t2i_query_ids.npy": header.getvalue()}.items():
      whole.writestr(name, content)
  with pytest.raises(ValueError, match=r"ranks\.npz holds no ranks of a split \(Unable to allocate"):
    score_file.read(path)


def test_an_unreadable_score_file_is_not_reported_as_damaged(tmp_path, monkeypatch):
  def deny(path, *_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

  path = tmp_path / "ranks.npz"
  write_result(path, result(ranks(0.5, 0)))
  monkeypatch.setattr(type(path), "open", deny)
  with pytest.raises(errors.DiskError, match=r"ranks\.npz: permission denied; change its permissions"):
    score_file.read(path)
