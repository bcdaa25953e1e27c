"""How `benchmarks/run.py` summarises and compares benchmark results; nothing is timed here."""

import json
import sys

import pytest

from benchmarks import report, run


def step(rate, best=100.0, **others):
  """Returns the results of a training step of one implementation."""
  return {"examples_per_s": rate, "best_gflop_per_s": best, **others}


def rounds(*ours, peer=()):
  """Returns a run of stage 2 with these results of ours and, if given, of the reference."""
  results = [{"step2": {"ours": line}} for line in ours]
  for both, line in zip(results, peer, strict=False):
    both["step2"]["peer"] = line
  return {"machine": {}, "rounds": results}


def cells(table, text):
  """Returns the cells of the table row that starts with a text."""
  (line,) = [line for line in table.splitlines() if line.startswith(text)]
  return line.removeprefix(text).split()


def test_a_rate_that_fell_by_more_than_the_spread_of_the_rounds_has_changed():
  (line,) = report.changes(rounds(step(3.0), step(3.1)), rounds(step(4.0), step(3.9)))
  assert line == "stage 2, examples/s: -23%, worse"


def test_a_median_within_the_range_of_the_other_runs_rounds_has_not_changed():
  wide = rounds(step(2.9), step(3.6), step(4.2))
  assert report.changes(rounds(step(3.0), step(3.0)), wide) == []
  assert report.changes(wide, rounds(step(3.0), step(3.0))) == []


def test_a_difference_below_the_noise_level_is_no_change_even_if_the_rounds_agree():
  assert report.changes(rounds(step(4.0)), rounds(step(4.1))) == []
  assert report.changes(rounds(step(4.0)), rounds(step(4.3))) != []


def test_rates_are_scaled_by_the_speed_of_the_machine():
  slow, fast = (
    rounds(step(4.0 * speed, 100.0 * speed)) | {"machine": {"cpu": str(speed)}} for speed in (1.0, 2.0)
  )  # fmt: skip
  for one, speed in ((slow, 1.0), (fast, 2.0)):
    one["rounds"][0]["startup"] = {"ours": {"start_warm_s": 8.0 / speed}}
  assert report.changes(fast, slow) == []
  fast["rounds"][0]["startup"]["ours"]["start_warm_s"] = 8.0
  assert report.changes(fast, slow) == ["stage 1 at work, warm, s: +100%, worse"]


def test_memory_is_compared_unscaled_and_less_is_better():
  before, now = step(4.0, 100.0, peak_rss_mib=4000), step(8.0, 200.0, peak_rss_mib=3000)
  assert report.changes(rounds(now), rounds(before)) == ["stage 2, memory, MiB: -25%, better"]


def test_without_a_training_step_results_are_compared_unscaled():
  encode = {"encode": {"ours": {"images_per_s": 10.0}}}
  slower = {"encode": {"ours": {"images_per_s": 5.0}}}
  both = {"rounds": [encode]}, {"rounds": [slower | {"step2": {"ours": step(4.0, 50.0)}}]}
  assert not report.is_scaled(*both)
  assert report.changes(*both) == ["encoding, images/s: +100%, better"]


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
  table = report.table(rounds(step(4.0), step(9.0), step(10.0), peer=(step(1.0), step(3.0), step(2.0))))
  # The ratios are 4, 3 and 5. The ratio of the medians, 9 and 2, would be 4.5.
  assert cells(table, "stage 2, examples/s") == ["2.00", "9.00", "4.00", "1.7"]


def test_ratios_of_memory_and_seconds_are_inverted():
  measured = rounds(step(4.0, peak_rss_mib=2000), peer=[step(2.0, peak_rss_mib=3000)])
  measured["rounds"][0]["metrics_icfg"] = {
    "ours": {"median_s": 4.0, "peak_beyond_mib": 100.0},
    "peer": {"median_s": 60.0, "peak_rss_mib": 5200.0, "rss_before_mib": 200.0},
  }
  table = report.table(measured)
  assert cells(table, "stage 2, memory, MiB") == ["3,000", "2,000", "1.50", "1"]
  assert cells(table, "metrics, size of icfg, s") == ["60.00", "4.00", "15.00", "10"]
  assert cells(table, "metrics, size of icfg, memory, MiB") == ["5,000", "100", "50.00"]


def test_without_the_reference_the_table_has_only_our_results():
  table = report.table(rounds(step(4.0, model_share_of_best=0.75)))
  assert cells(table, "stage 2, examples/s") == ["4.00", "1.7"]
  assert cells(table, "stage 2, fraction of the best matrix rate") == ["0.75", "0.80"]
  assert "stage 1" not in table


def test_metrics_expands_to_every_size_and_benchmarks_keep_their_order():
  assert run.parse(["--only=metrics,step2"]).only == ["step2", "metrics_rstp", "metrics_cuhk", "metrics_icfg"]


@pytest.mark.parametrize("is_fast", [True, False])
def test_the_reference_runs_in_bfloat16_only_if_the_cpu_supports_it(checkout, monkeypatch, is_fast):
  monkeypatch.setattr(run, "multiplies_bfloat16", lambda: is_fast)
  args = run.parse([f"--peer={checkout}", f"--peer_python={sys.executable}"])
  both, ours = ["peer", "ours"], ["ours"]
  assert run.sides_of("bfloat16_step2", args) == (both if is_fast else ours)
  assert run.sides_of("step2", args) == both
  assert run.sides_of("bfloat16_step2", run.parse([])) == ours


@pytest.fixture
def checkout(tmp_path):
  """Returns a folder that looks like a checkout of the reference."""
  (tmp_path / "irra" / "model").mkdir(parents=True)
  (tmp_path / "irra" / "model" / "clip_model.py").touch()
  return tmp_path / "irra"


def error_line(arguments, capsys):
  """Returns the error line of the command."""
  assert run.main(arguments) == 2
  captured = capsys.readouterr()
  assert not captured.out
  (line,) = captured.err.splitlines()
  return line


def test_a_folder_that_is_not_a_checkout_of_the_reference_is_an_error(tmp_path, capsys):
  assert error_line([f"--peer={tmp_path}"], capsys).startswith(f"error: --peer={tmp_path} is no checkout")


def test_a_missing_python_for_the_reference_is_an_error(checkout, capsys):
  line = error_line([f"--peer={checkout}", f"--peer_python={checkout}/python"], capsys)
  assert f"--peer_python={checkout}/python does not exist" in line
  assert "make bench PEER=" in line


@pytest.mark.parametrize(
  "text", ["", "not JSON", "[]", "{}", '{"rounds": []}', '{"rounds": [{"step2": {}}]}', '{"rounds": [{"step2": 1}]}']
)
def test_a_baseline_file_that_is_not_the_result_of_a_run_is_an_error(text, tmp_path, capsys):
  file = tmp_path / "baseline.json"
  assert "does not exist" in error_line([f"--baseline={file}"], capsys)
  file.write_text(text)
  assert "is not what a run writes" in error_line([f"--baseline={file}"], capsys)


def test_the_results_of_a_run_are_read_as_a_baseline(tmp_path):
  file = tmp_path / "baseline.json"
  measured = rounds(step(4.0)) | {"machine": {"cores": 2}}
  measured["rounds"][0]["startup"] = {}  # failed
  file.write_text(json.dumps(measured))
  assert run.parse([f"--baseline={file}"]).baseline == measured


@pytest.mark.parametrize("flag", ["--only=step3", "--rounds=0", "--json=/no/such/folder/file.json"])
def test_other_invalid_flags_are_errors(flag, capsys):
  assert flag.split("/file")[0] in error_line([flag], capsys)
