"""The k most similar vectors, exactly, whatever the blocks, the mask and the devices."""

import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

from tests import processes
from tests.commands import ROOT
from tireid_jax.parallel import sharding
from tireid_jax.search import exact

DEVICES = """
import numpy as np, jax
from tests.search import exact_test
assert jax.device_count() == 4
exact_test.check_against_numpy(np.float32, num=700, k=5)
print("agrees")
"""


def unit(rng, num, size=16):
  vectors = rng.standard_normal((num, size)).astype(np.float32)
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(parts, dtype=np.float32):
  return exact.Exact(
    [part.astype(dtype, copy=False) for part in parts], parts[0].shape[1], np.dtype(dtype), sharding.make_mesh(-1, 1, 1)
  )


def check_against_numpy(dtype, num, k):
  """Parts that fill no block, one block and several, with a mask."""
  rng = np.random.default_rng(0)
  vectors, queries = unit(rng, num).astype(dtype), unit(rng, 3).astype(dtype)
  vectors[num // 2 :: 3] = vectors[0]  # ties, of which the lowest come first
  is_candidate = rng.random(num) < 0.7
  found = make(np.split(vectors, [5, num // 2]), dtype)
  similarity = np.where(is_candidate, queries.astype(np.float32) @ vectors.astype(np.float32).T, -np.inf)
  scores, rows = found.search(queries.astype(np.float32), k, is_candidate)
  np.testing.assert_allclose(scores, -np.sort(-similarity, axis=1)[:, :k], atol=1e-5)
  np.testing.assert_allclose(np.take_along_axis(similarity, rows, axis=1), scores, atol=1e-5)
  assert all(len(set(row)) == k for row in rows.tolist())


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_the_best_vectors_are_found_across_blocks_and_never_a_masked_one(monkeypatch, dtype):
  monkeypatch.setattr(exact, "BLOCK_ROWS", 256)
  check_against_numpy(dtype, num=1100, k=7)


def test_of_equal_values_the_lowest_columns_come_first():
  similarity = np.zeros((2, 1024), np.float32)
  similarity[0, 900] = 1.0
  values, columns = jax.jit(exact.top_k, static_argnums=1)(similarity, 4)
  np.testing.assert_array_equal(columns, [[900, 0, 1, 2], [0, 1, 2, 3]])
  np.testing.assert_array_equal(values, [[1, 0, 0, 0], [0, 0, 0, 0]])


def test_fewer_candidates_than_requested_are_all_returned():
  rng = np.random.default_rng(0)
  found = make([unit(rng, 10)])
  scores, rows = found.search(unit(rng, 2), 50, np.arange(10) < 3)
  assert scores.shape == (2, 3)
  assert all(sorted(row) == [0, 1, 2] for row in rows.tolist())
  assert found.search(unit(rng, 2), 5, np.zeros(10, bool))[1].shape == (2, 0)


def test_full_blocks_are_used_where_they_are_mapped(tmp_path, monkeypatch):
  monkeypatch.setattr(exact, "BLOCK_ROWS", 256)
  np.save(tmp_path / "vectors.npy", unit(np.random.default_rng(0), 600))
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  found = make([mapped])
  if sharding.platform(sharding.make_mesh(-1, 1, 1)) == "cpu":
    assert found._blocks[1].unsafe_buffer_pointer() == mapped.ctypes.data + 256 * 16 * 4
    assert found._blocks[3].unsafe_buffer_pointer() == mapped.ctypes.data + (512 + 32) * 16 * 4


def test_bfloat16_recalls_the_ten_nearest_of_float32():
  rng = np.random.default_rng(0)
  vectors, queries = unit(rng, 20_000, 512), unit(rng, 64, 512)
  _, best = make([vectors]).search(queries, 10)
  _, found = make([vectors], ml_dtypes.bfloat16).search(queries, 10)
  recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(best.tolist(), found.tolist(), strict=True)])
  assert recall >= 0.99


def test_a_gallery_that_is_split_over_devices_gives_the_same_results():
  environment = processes.environment(XLA_FLAGS=processes.devices(4), **processes.THREADS)
  done = subprocess.run([sys.executable, "-c", DEVICES], cwd=ROOT, env=environment, capture_output=True, text=True)
  assert done.stdout == "agrees\n", done.stderr
