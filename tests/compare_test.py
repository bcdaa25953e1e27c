"""The paired bootstrap against what is known of it, and what the command says of results that cannot be compared."""

import dataclasses
import errno
import io
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tireid_jax import compare, errors, metrics
from tireid_jax.evaluation import embedding

NUM_QUERIES = 200


def scores(first_rank, query_ids=None):
  """Returns QueryScores with one positive a query, at the given ranks."""
  first_rank = np.asarray(first_rank)
  ids = np.arange(len(first_rank)) // 4 if query_ids is None else query_ids
  return metrics.QueryScores(ids, first_rank, 1 / first_rank, 1 / first_rank)


def result(first_rank, **changes):
  known = {"path": "ranks.npz", "dataset": "toy_pedes", "split": "test", "fingerprint": "f00"}
  return compare.Result(**{**known, "scores": {way: scores(first_rank) for way in embedding.WAYS}, **changes})


def write_result(path, result):
  path.parent.mkdir(parents=True, exist_ok=True)
  arrays = {name: np.asarray(getattr(result, name)) for name in ("fingerprint", "dataset", "split")}
  for way in embedding.WAYS:
    arrays.update(result.scores[way].to_arrays(way))
  np.savez(path, **arrays)
  return path


def rows_by_metric(*results, **options):
  rows = compare.compare(*results, num_resamples=2000, **options)
  return {row["metric"]: row for row in rows if row["direction"] == "text to image"}


def ranks(share_right, seed):
  return np.where(np.random.default_rng(seed).random(NUM_QUERIES) < share_right, 1, 20)


def test_the_table_has_both_results_and_their_difference():
  row = rows_by_metric(result(np.repeat([1, 20], 100)), result(np.repeat([1, 2], [150, 50])))["R@1"]
  assert (row["W1"], row["W2"], row["W2-W1"]) == (50.0, 75.0, 25.0)


def test_every_metric_of_both_directions_has_a_row():
  rows = compare.compare(result(ranks(0.5, 0)), result(ranks(0.5, 1)), num_resamples=10)
  assert [(row["direction"], row["metric"]) for row in rows] == [
    (direction, metric) for direction in ("text to image", "image to text") for metric in scores([1]).summary()
  ]


def test_interval_is_that_of_the_normal_distribution():
  before, after = ranks(0.4, 0), ranks(0.6, 1)
  differences = 100.0 * (after <= 1) - 100.0 * (before <= 1)
  half = 1.96 * differences.std() / NUM_QUERIES**0.5
  row = rows_by_metric(result(before), result(after))["R@1"]
  assert [row["low"], row["high"]] == pytest.approx(
    [differences.mean() - half, differences.mean() + half], abs=0.08 * half
  )


def test_pairing_is_used_a_small_gain_on_the_same_queries_is_certain():
  before = ranks(0.5, 0)
  after = before.copy()
  after[np.flatnonzero(before > 1)[:10]] = 1
  row = rows_by_metric(result(before), result(after))["R@1"]
  assert row["low"] > 0
  assert float(row["p"]) < 0.01


def test_the_same_result_twice_differs_by_nothing_with_p_1():
  row = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.5, 0)))["mAP"]
  assert (row["W2-W1"], row["low"], row["high"], row["p"]) == (0, 0, 0, "1.0000")


def test_exchanging_the_results_changes_signs_alone():
  forth = rows_by_metric(result(ranks(0.5, 0)), result(ranks(0.55, 1)))["mAP"]
  back = rows_by_metric(result(ranks(0.55, 1)), result(ranks(0.5, 0)))["mAP"]
  assert (back["W2-W1"], back["low"], back["high"]) == pytest.approx((-forth["W2-W1"], -forth["high"], -forth["low"]))
  assert back["p"] == forth["p"]


def test_p_of_no_difference_is_below_5_percent_about_once_in_20():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(400, 200))  # [trials, N]
  p = []
  for row in values:
    resampled = compare.bootstrap_means(row[:, None], np.arange(200), 400, rng)
    p.append(compare._p_value(resampled[:, 0]))
  assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_by_identity_is_wider_where_a_person_s_queries_rise_and_fall_together():
  # Every four queries are of one person, so there are 50 independent draws, not 200: twice the width.
  before, after = np.full(NUM_QUERIES, 20), np.repeat(ranks(0.5, 0)[:50], 4)
  widths = []
  for by_identity in (False, True):
    row = rows_by_metric(result(before), result(after), by_identity=by_identity)["R@1"]
    widths.append(row["high"] - row["low"])
  assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)


def test_groups_of_unlike_size_weigh_by_their_queries():
  values, groups = np.array([[0.0], [0.0], [0.0], [8.0]]), np.array([0, 0, 0, 1])
  means = compare.bootstrap_means(values, groups, 200, np.random.default_rng(0))
  assert set(means[:, 0].tolist()) == {0.0, 2.0, 8.0}


def test_the_seed_decides_the_draws():
  two = result(ranks(0.5, 0)), result(ranks(0.6, 1))
  assert rows_by_metric(*two, seed=3) == rows_by_metric(*two, seed=3)
  assert rows_by_metric(*two, seed=3) != rows_by_metric(*two, seed=4)


def test_chunks_of_resamples_hold_few_at_a_time_and_change_nothing(monkeypatch):
  values, groups = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60)
  whole = compare.bootstrap_means(values, groups, 25, np.random.default_rng(5))
  monkeypatch.setattr(compare, "CHUNK_BYTES", 8 * 60 * 7)
  np.testing.assert_allclose(compare.bootstrap_means(values, groups, 25, np.random.default_rng(5)), whole)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"fingerprint": "f01"}, "results of different data: fingerprint f00 and f01"),
    ({"split": "val"}, "results of different data: split test and val"),
    ({"scores": {way: scores(np.ones(7)) for way in embedding.WAYS}}, "different queries, text to image: 200 and 7"),
    (
      {"scores": {way: scores(np.ones(200), np.arange(200)) for way in embedding.WAYS}},
      "different queries, text to image: 200 and 200, or others of the same number",
    ),
  ],
)
def test_results_of_other_queries_are_refused(changes, message):
  with pytest.raises(ValueError) as error:
    compare.compare(result(ranks(0.5, 0)), result(ranks(0.5, 0), **changes))
  assert message in str(error.value)


def test_a_result_is_read_as_it_was_written(tmp_path):
  written = result(ranks(0.5, 0))
  read = compare.read_result(write_result(tmp_path / "dump.npz", written))
  assert (read.dataset, read.split, read.fingerprint) == ("toy_pedes", "test", "f00")
  assert read.scores["i2t"].summary() == written.scores["i2t"].summary()


def test_the_highest_stage_of_both_workdirs_is_compared(tmp_path):
  for name, numbers in {"a": (0, 1, 2), "b": (0, 1)}.items():
    for number in numbers:
      write_result(tmp_path / name / f"stage{number}" / "ranks_test.npz", result(ranks(0.5, 0)))
  found = compare.find_results(tmp_path / "a", tmp_path / "b")
  assert found == [tmp_path / name / "stage1" / "ranks_test.npz" for name in "ab"]
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/b has stage 2 not finished; run python -m"):
    compare.find_results(tmp_path / "a", tmp_path / "b", stage=2)


def test_workdirs_without_a_common_stage_are_told_apart(tmp_path):
  for name, number in {"a": 1, "b": 2}.items():
    write_result(tmp_path / name / f"stage{number}" / "ranks_test.npz", result(ranks(0.5, 0)))
  with pytest.raises(FileNotFoundError, match="no stage is finished in both: .*a has 1; .*b has 2; run"):
    compare.find_results(tmp_path / "a", tmp_path / "b")


def test_a_workdir_is_compared_with_a_file(tmp_path):
  ours = write_result(tmp_path / "a" / "stage2" / "ranks_test.npz", result(ranks(0.5, 0)))
  dump = write_result(tmp_path / "dump.npz", result(ranks(0.5, 0)))
  assert compare.find_results(tmp_path / "a", dump) == [ours, dump]


def test_a_workdir_without_results_says_what_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="has no stage finished; run python -m tireid_jax.main --config="):
    compare.find_results(tmp_path, tmp_path)


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
def test_a_file_of_something_else_is_refused(tmp_path, write):
  path = tmp_path / "other.npz"
  write(path)
  with pytest.raises(ValueError, match="other.npz holds no ranks of a split"):
    compare.read_result(path)


def test_the_command_prints_the_table_or_one_line_of_error(tmp_path):
  right = result(ranks(0.5, 0))
  first = write_result(tmp_path / "first.npz", right)
  second = write_result(tmp_path / "second.npz", dataclasses.replace(right, fingerprint="f01"))
  command = [sys.executable, "-m", "tireid_jax.compare", "--num_resamples=50", "--by_identity", first]
  good = subprocess.run([*command, first], capture_output=True, text=True)
  assert good.returncode == 0, good.stderr
  assert "toy_pedes test, 50 resamples of identities" in good.stdout
  assert len([line for line in good.stdout.splitlines() if line.startswith("text to image")]) == 5
  bad = subprocess.run([*command, second], capture_output=True, text=True)
  assert bad.returncode == 2
  assert bad.stderr.count("\n") == 1
  assert bad.stderr.startswith("error: ")


def spoil_array(path, **arrays):
  """Writes a file of ranks with other arrays."""
  write_result(path, result(ranks(0.5, 0)))
  with np.load(path) as found:
    np.savez_compressed(path, **{**found, **arrays})


@pytest.mark.parametrize(
  "damage",
  [
    # As a damaged file has been seen to end in zipfile, zlib and NumPy.
    lambda path, content: path.write_bytes(re.sub(rb"(?s)(PK\x01\x02..).", lambda found: found[1] + b"\x8d", content)),
    lambda path, content: path.write_bytes(content[:60] + bytes(20) + content[80:]),
    lambda path, content: path.write_bytes(content.replace(b"\x08\0", b"\x63\0")),
    lambda path, _: spoil_array(path, t2i_query_ids=np.int64(3)),
    lambda path, _: spoil_array(path, t2i_query_ids=np.zeros((2, 2))),
    lambda path, _: spoil_array(path, t2i_first_rank=np.arange(3)),
    lambda path, _: spoil_array(path, i2t_average_precision=np.array(["a"] * 8)),
    lambda path, _: spoil_array(path, **{f"t2i_{field.name}": [] for field in dataclasses.fields(metrics.QueryScores)}),
  ],
)
def test_a_damaged_file_of_ranks_is_one_line(tmp_path, damage):
  path = tmp_path / "ranks.npz"
  write_result(path, result(ranks(0.5, 0)))
  content = path.read_bytes()
  damage(path, content)
  assert path.read_bytes() != content
  with pytest.raises(ValueError, match=r"ranks\.npz holds no ranks of a split \(.*\); give a file"):
    compare.read_result(path)


def test_an_array_that_claims_to_be_larger_than_memory_is_one_line(tmp_path):
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
    compare.read_result(path)


def test_a_file_of_ranks_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
  def refuse(path, *_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

  path = tmp_path / "ranks.npz"
  write_result(path, result(ranks(0.5, 0)))
  monkeypatch.setattr(type(path), "open", refuse)
  with pytest.raises(errors.DiskError, match=r"ranks\.npz: permission denied; change its permissions"):
    compare.read_result(path)
