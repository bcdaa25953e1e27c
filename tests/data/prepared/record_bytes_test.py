"""Records read directly from their files equal those that array_record wrote."""

import os

import numpy as np
import pytest
from array_record.python import array_record_module

from tireid_jax.data.prepared import record_bytes

# Records within the first block, across several blocks, and one that ends exactly at the end of a block.
SIZES = [10, 70_000, 300, 200_000, record_bytes.BLOCK - record_bytes.HEADER, 5]


def write(file, records, options="group_size:1,uncompressed"):
  writer = array_record_module.ArrayRecordWriter(str(file), options)
  for record in records:
    writer.write(record)
  writer.close()


@pytest.mark.parametrize("num_bytes", [5, 4_000, 147_456])
def test_tails_are_read_across_block_headers(tmp_path, num_bytes):
  rng = np.random.default_rng(0)
  files, records = [tmp_path / "a", tmp_path / "b"], []
  for file in files:
    records.append([rng.bytes(num_bytes + size) for size in [*SIZES, *rng.integers(0, 2000, 60)]])
    write(file, records[-1])
  positions = [record_bytes.find_tails(*found, num_bytes) for found in zip(files, records, strict=True)]
  reader = record_bytes.RecordBytes(files, num_bytes)
  out = bytearray(num_bytes)
  for file in (1, 0):
    for record, position in reversed(list(zip(records[file], positions[file], strict=True))):
      reader.read_into(out, file, position)
      assert out == record[-num_bytes:]


def test_similar_records_are_distinguished(tmp_path):
  records = [bytes(1000), bytes(999) + b"a", bytes(1000)]
  write(tmp_path / "a", records)
  positions = record_bytes.find_tails(tmp_path / "a", records, 10)
  reader, out = record_bytes.RecordBytes([tmp_path / "a"], 10), bytearray(10)
  found = []
  for position in positions:
    reader.read_into(out, 0, position)
    found.append(bytes(out))
  assert found == [bytes(10), bytes(9) + b"a", bytes(10)]


def test_compressed_records_are_an_error(tmp_path):
  records = [bytes(1000)]
  write(tmp_path / "a", records, "group_size:1,zstd")
  with pytest.raises(RuntimeError, match="the installed array_record writes another format"):
    record_bytes.find_tails(tmp_path / "a", records, 10)


def test_at_most_max_open_files_stay_open(tmp_path, monkeypatch):
  monkeypatch.setattr(record_bytes, "MAX_OPEN", 3)
  files = [tmp_path / str(number) for number in range(8)]
  for number, file in enumerate(files):
    write(file, [bytes([number]) * 1000])
  (position,) = record_bytes.find_tails(files[0], [bytes(1000)], 10)
  before = len(os.listdir("/proc/self/fd"))
  reader, out = record_bytes.RecordBytes(files, 10), bytearray(10)
  for number in [*range(8), 0, 7, 6, 0, 3]:
    reader.read_into(out, number, position)
    assert out == bytes([number]) * 10
    assert len(os.listdir("/proc/self/fd")) - before <= 3
  del reader
  assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_file_is_reported_before_any_file_is_read(tmp_path):
  with pytest.raises(ValueError, match=f"{tmp_path}/gone does not exist; remove the data set and prepare it again"):
    record_bytes.RecordBytes([tmp_path / "gone"], 10)
