"""Which results the command compares, and what it prints."""

import dataclasses
import subprocess
import sys

import pytest

from tests.ranked_results import ranks, result, write_result
from tireid_jax import compare


def test_the_highest_stage_of_both_workdirs_is_compared(tmp_path):
  for name, numbers in {"a": (0, 1, 2), "b": (0, 1)}.items():
    for number in numbers:
      write_result(tmp_path / name / f"stage{number}" / "ranks_test.npz", result(ranks(0.5, 0)))
  found = compare.find_results(tmp_path / "a", tmp_path / "b")
  assert found == [tmp_path / name / "stage1" / "ranks_test.npz" for name in "ab"]
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/b has stage 2 not finished; run python -m"):
    compare.find_results(tmp_path / "a", tmp_path / "b", stage=2)


def test_the_error_for_workdirs_without_a_common_stage_lists_the_stages_of_each(tmp_path):
  for name, number in {"a": 1, "b": 2}.items():
    write_result(tmp_path / name / f"stage{number}" / "ranks_test.npz", result(ranks(0.5, 0)))
  with pytest.raises(FileNotFoundError, match="no stage is finished in both: .*a has 1; .*b has 2; run"):
    compare.find_results(tmp_path / "a", tmp_path / "b")


def test_a_workdir_can_be_compared_with_a_file(tmp_path):
  ours = write_result(tmp_path / "a" / "stage2" / "ranks_test.npz", result(ranks(0.5, 0)))
  dump = write_result(tmp_path / "dump.npz", result(ranks(0.5, 0)))
  assert compare.find_results(tmp_path / "a", dump) == [ours, dump]


def test_the_error_for_a_workdir_without_results_names_the_command_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="has no stage finished; run python -m tireid_jax.main --config="):
    compare.find_results(tmp_path, tmp_path)


def test_the_command_prints_the_table_or_a_one_line_error(tmp_path):
  right = result(ranks(0.5, 0))
  first = write_result(tmp_path / "first.npz", right)
  second = write_result(tmp_path / "second.npz", dataclasses.replace(right, fingerprint="f01"))
  command = [sys.executable, "-m", "tireid_jax.compare", "--num_resamples=50", first]
  good = subprocess.run([*command, first], capture_output=True, text=True)
  assert good.returncode == 0, good.stderr
  assert "toy_pedes test, 50 resamples of identities" in good.stdout
  assert len([line for line in good.stdout.splitlines() if line.startswith("text to image")]) == 5
  single = subprocess.run([*command, first, "--noby_identity"], capture_output=True, text=True)
  assert "toy_pedes test, 50 resamples of queries" in single.stdout
  bad = subprocess.run([*command, second], capture_output=True, text=True)
  assert bad.returncode == 2
  assert bad.stderr.count("\n") == 1
  assert bad.stderr.startswith("error: ")
