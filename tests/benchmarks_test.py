"""What `benchmarks/run.py` makes of the benchmarks' figures; nothing is timed here."""

import json
import sys

import pytest

from benchmarks import figures, run


def step(rate, best=100.0, **others):
  """Returns one side's line of a step's figures."""
  return {"examples_per_s": rate, "best_gflop_per_s": best, **others}


def rounds(*ours, peer=()):
  """Returns a run of stage 2 with these lines, and the reference's if there are any."""
  results = [{"step2": {"ours": line}} for line in ours]
  for both, line in zip(results, peer, strict=False):
    both["step2"]["peer"] = line
  return {"machine": {}, "rounds": results}


def cells(table, text):
  """Returns the words of the table's line that begins so."""
  (line,) = [line for line in table.splitlines() if line.startswith(text)]
  return line.removeprefix(text).split()


def test_a_rate_that_fell_beyond_the_rounds_has_moved():
  (line,) = figures.moved(rounds(step(3.0), step(3.1)), rounds(step(4.0), step(3.9)))
  assert line == "stage 2, examples/s: -23%, worse"


def test_a_median_within_the_rounds_of_the_other_run_has_not_moved():
  wide = rounds(step(2.9), step(3.6), step(4.2))
  assert figures.moved(rounds(step(3.0), step(3.0)), wide) == []
  assert figures.moved(wide, rounds(step(3.0), step(3.0))) == []


def test_less_than_the_noise_has_not_moved_however_alike_the_rounds():
  assert figures.moved(rounds(step(4.0)), rounds(step(4.1))) == []
  assert figures.moved(rounds(step(4.0)), rounds(step(4.3))) != []


def test_another_machines_speed_does_not_count():
  slow, fast = (
    rounds(step(4.0 * speed, 100.0 * speed)) | {"machine": {"cpu": str(speed)}} for speed in (1.0, 2.0)
  )  # fmt: skip
  for one, speed in ((slow, 1.0), (fast, 2.0)):
    one["rounds"][0]["startup"] = {"ours": {"start_warm_s": 8.0 / speed}}
  assert figures.moved(fast, slow) == []
  fast["rounds"][0]["startup"]["ours"]["start_warm_s"] = 8.0
  assert figures.moved(fast, slow) == ["stage 1 at work, warm, s: +100%, worse"]


def test_memory_is_compared_as_it_is_and_less_is_better():
  before, now = step(4.0, 100.0, peak_rss_mib=4000), step(8.0, 200.0, peak_rss_mib=3000)
  assert figures.moved(rounds(now), rounds(before)) == ["stage 2, memory, MiB: -25%, better"]


def test_without_a_step_figures_are_compared_unscaled():
  encode = {"encode": {"ours": {"images_per_s": 10.0}}}
  slower = {"encode": {"ours": {"images_per_s": 5.0}}}
  both = {"rounds": [encode]}, {"rounds": [slower | {"step2": {"ours": step(4.0, 50.0)}}]}
  assert not figures.is_scaled(*both)
  assert figures.moved(*both) == ["encoding, images/s: +100%, better"]


def test_a_ratio_is_the_median_of_the_rounds_own():
  table = figures.table(rounds(step(4.0), step(9.0), step(10.0), peer=(step(1.0), step(3.0), step(2.0))))
  # Of 4, 3 and 5; the medians of the sides, 2 and 9, would say 4.5.
  assert cells(table, "stage 2, examples/s") == ["2.00", "9.00", "4.00", "1.7"]


def test_of_memory_and_seconds_the_ratio_is_the_other_way():
  measured = rounds(step(4.0, peak_rss_mib=2000), peer=[step(2.0, peak_rss_mib=3000)])
  measured["rounds"][0]["metrics_icfg"] = {
    "ours": {"median_s": 4.0, "peak_beyond_mib": 100.0},
    "peer": {"median_s": 60.0, "peak_rss_mib": 5200.0, "rss_before_mib": 200.0},
  }
  table = figures.table(measured)
  assert cells(table, "stage 2, memory, MiB") == ["3,000", "2,000", "1.50", "1"]
  assert cells(table, "metrics, size of icfg, s") == ["60.00", "4.00", "15.00", "10"]
  assert cells(table, "metrics, size of icfg, memory, MiB") == ["5,000", "100", "50.00"]


def test_without_the_reference_the_table_has_ours_alone():
  table = figures.table(rounds(step(4.0, model_share_of_best=0.75)))
  assert cells(table, "stage 2, examples/s") == ["4.00", "1.7"]
  assert cells(table, "stage 2, fraction of the best matrix rate") == ["0.75", "0.80"]
  assert "stage 1" not in table


def test_metrics_names_every_size_and_the_order_is_the_programs():
  assert run.parse(["--only=metrics,step2"]).only == ["step2", "metrics_rstp", "metrics_cuhk", "metrics_icfg"]


@pytest.mark.parametrize("is_fast", [True, False])
def test_the_reference_runs_in_bfloat16_where_the_cpu_multiplies_it(checkout, monkeypatch, is_fast):
  monkeypatch.setattr(run, "multiplies_bfloat16", lambda: is_fast)
  args = run.parse([f"--peer={checkout}", f"--peer_python={sys.executable}"])
  both, ours = ["peer", "ours"], ["ours"]
  assert run.sides_of("bfloat16_step2", args) == (both if is_fast else ours)
  assert run.sides_of("step2", args) == both
  assert run.sides_of("bfloat16_step2", run.parse([])) == ours


@pytest.fixture
def checkout(tmp_path):
  """Returns a folder that looks like the reference's."""
  (tmp_path / "irra" / "model").mkdir(parents=True)
  (tmp_path / "irra" / "model" / "clip_model.py").touch()
  return tmp_path / "irra"


def refused(arguments, capsys):
  """Returns the one line with which the command refuses its arguments."""
  assert run.main(arguments) == 2
  captured = capsys.readouterr()
  assert not captured.out
  (line,) = captured.err.splitlines()
  return line


def test_a_folder_that_is_no_checkout_of_the_reference_is_rejected(tmp_path, capsys):
  assert refused([f"--peer={tmp_path}"], capsys).startswith(f"error: --peer={tmp_path} is no checkout")


def test_a_python_for_the_reference_that_is_not_there_is_rejected(checkout, capsys):
  line = refused([f"--peer={checkout}", f"--peer_python={checkout}/python"], capsys)
  assert f"--peer_python={checkout}/python is not there" in line
  assert "make bench PEER=" in line


@pytest.mark.parametrize(
  "text", ["", "not JSON", "[]", "{}", '{"rounds": []}', '{"rounds": [{"step2": {}}]}', '{"rounds": [{"step2": 1}]}']
)
def test_a_file_that_is_no_run_is_rejected_as_a_baseline(text, tmp_path, capsys):
  file = tmp_path / "baseline.json"
  assert "is not there" in refused([f"--baseline={file}"], capsys)
  file.write_text(text)
  assert "is not what a run writes" in refused([f"--baseline={file}"], capsys)


def test_what_a_run_wrote_is_read_as_a_baseline(tmp_path):
  file = tmp_path / "baseline.json"
  measured = rounds(step(4.0)) | {"machine": {"cores": 2}}
  measured["rounds"][0]["startup"] = {}  # failed
  file.write_text(json.dumps(measured))
  assert run.parse([f"--baseline={file}"]).baseline == measured


@pytest.mark.parametrize("flag", ["--only=step3", "--rounds=0", "--json=/no/such/folder/file.json"])
def test_other_flags_that_cannot_be_used_are_rejected(flag, capsys):
  assert flag.split("/file")[0] in refused([flag], capsys)
