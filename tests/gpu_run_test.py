"""`benchmarks/gpu`: how it runs benchmarks and stores results, and its short form, which runs all of them on a CPU."""

import argparse
import json
import sys
import tempfile
import time

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import caches, measuring, plan, results, table, topology, wheels, worker

ROW = plan.Measurement("speed", "a row", "card.describe")
MACHINE = {"device": "NVIDIA H200", "python": "3.12.3", "versions": {"jax": "0.11.2"}, "platform": "gpu", "runtime": ""}


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path):
  """Gives each test its own temporary folder, because the caches of all runs have the same path in it."""
  (tmp_path / "temporary").mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def make_results(tmp_path, run="now", **kept):
  """Returns Results with these rows."""
  return results.Results(tmp_path / "results.json", run, {run: MACHINE}, dict(kept))


def test_every_row_has_a_unique_name_and_a_function_that_computes_it():
  for every in (plan.FULL, plan.SHORT):
    assert len({row.key for row in every}) == len(every)
    assert {row.part for row in every} <= set(plan.PARTS)
    assert all(callable(worker.resolve(row.call)) for row in every if row.part != "peer")
  assert {row.part for row in plan.FULL} == set(plan.PARTS)


def test_our_step_and_the_references_run_first_after_the_description_of_the_gpu():
  groups = plan.groups(plan.FULL)
  assert [row.name for _, group in groups[:2] for row in group] == [
    "card", plan.BASE, f"{plan.BASE}, strongest", f"{plan.BASE}, published"
  ]  # fmt: skip
  assert sorted(row.key for _, group in groups for row in group) == sorted(row.key for row in plan.FULL)


def test_a_choice_differs_from_the_base_in_the_named_settings():
  (base,) = [row for row in plan.SPEED if row.name == plan.BASE]
  for choice in plan.CHOICES:
    row = plan.step(**choice)
    assert row in plan.SPEED
    assert row.settings == {**base.settings, **choice}


def stand_in(monkeypatch, program):
  """Makes `measuring` run a Python program instead of the worker or the reference."""
  popen = measuring.subprocess.Popen
  monkeypatch.setattr(
    measuring.subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", program], **options)
  )


SAY = "import json, sys, time\nsay = lambda **line: print(json.dumps(line), flush=True)\n"
ARGS = command.parse(["--to=unused", "--short"])


def measured(tmp_path, monkeypatch, text, seconds=20.0, group=(ROW,)):
  """Returns the rows, by name, that `measuring.ours` stores for a worker that runs this program."""
  stand_in(monkeypatch, SAY + text)
  into = make_results(tmp_path)
  measuring.ours(ARGS, list(group), into, tmp_path, time.monotonic() + seconds)
  assert results.read(into.file).rows == into.rows
  return {key.removeprefix("speed/"): row for key, row in into.rows.items()}


def test_a_row_is_written_to_the_file_as_soon_as_it_is_measured(tmp_path, monkeypatch):
  text = f"""
import pathlib
FILE, SEEN = pathlib.Path({str(tmp_path / "results.json")!r}), pathlib.Path({str(tmp_path / "seen")!r})
print("no JSON")
say(row="speed/a row", result={{"status": "done", "x": 1}})
while not (FILE.exists() and "a row" in FILE.read_text()):
  time.sleep(0.01)
SEEN.touch()
"""
  assert measured(tmp_path, monkeypatch, text, seconds=60)["a row"] == {"status": "done", "x": 1, "run": "now"}
  assert (tmp_path / "seen").exists()


def test_rows_unfinished_at_the_deadline_are_marked_as_not_run_and_the_process_is_killed(tmp_path, monkeypatch):
  start = time.monotonic()
  rows_left = measured(tmp_path, monkeypatch, "say(begin='speed/a row'); time.sleep(60)", seconds=1)
  assert rows_left["a row"]["status"] == "not run"
  assert time.monotonic() - start < 20


def test_a_row_that_crashes_its_process_does_not_affect_the_others(tmp_path, monkeypatch):
  text = """
if "speed/first" in STATE.read_text():
  say(begin="speed/second"); say(row="speed/second", result={"status": "done"})
else:
  STATE.write_text("speed/first"); say(begin="speed/first"); sys.exit("the driver is gone")
"""
  (tmp_path / "state").touch()
  text = f"import pathlib\nSTATE = pathlib.Path({str(tmp_path / 'state')!r})\n{text}"
  first, second = (plan.Measurement("speed", name, "card.describe") for name in ("first", "second"))
  kept = measured(tmp_path, monkeypatch, text, group=(first, second))
  assert kept["first"]["status"] == "failed"
  assert kept["first"]["reason"].endswith("the driver is gone")
  assert kept["second"]["status"] == "done"


def test_the_last_output_line_of_the_reference_is_its_row_and_without_a_checkout_it_is_not_run(tmp_path, monkeypatch):
  row = plan.peer("strongest")
  into = make_results(tmp_path)
  measuring.peer(ARGS, [row], into, tmp_path, time.monotonic() + 20)
  assert into.rows[row.key]["reason"] == "no --peer was given"
  stand_in(monkeypatch, "print('some words'); print('{\"pairs_per_s\": 7.0}')")
  args = argparse.Namespace(**{**vars(ARGS), "peer": tmp_path})
  measuring.peer(args, [row], into, tmp_path, time.monotonic() + 20)
  assert into.rows[row.key] == {"status": "done", "pairs_per_s": 7.0, "settings": row.settings, "run": "now"}


def test_a_machine_without_a_gpu_is_an_error_without_the_short_form(tmp_path, capsys, monkeypatch):
  stand_in(monkeypatch, SAY + f"say(machine={ {**MACHINE, 'platform': 'cpu'}!r})")
  assert command.main([f"--to={tmp_path}"]) == 2
  (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
  assert line.startswith("error: there is no GPU here: JAX computes on cpu")


def test_a_later_run_measures_only_missing_rows(tmp_path):
  former = make_results(
    tmp_path, "before", a={"status": "done", "run": "before"}, b={"status": "not run"}, c={"status": "failed"}
  )
  former.write()
  now = results.Results(tmp_path / "now.json", "now")
  now.start(["a", "b", "c", "d"], results.read(former.file))
  assert now.missing(["a", "b", "c", "d"]) == ["b", "c", "d"]
  now.add("a", {"status": "failed"})  # a later failure does not replace a measured row
  assert now.rows["a"] == {"status": "done", "run": "before"}


def test_rows_of_another_gpu_raise(tmp_path):
  kept = make_results(tmp_path)
  with pytest.raises(ValueError, match="were measured on 'NVIDIA H200', but this is 'NVIDIA L4'; omit --skip"):
    kept.add_machine({**MACHINE, "device": "NVIDIA L4"})


@pytest.mark.parametrize("text", ["", "[]", '{"rows": {}}', '{"machines": {}, "rows": {"a": {"status": "odd"}}}'])
def test_a_file_that_is_not_the_result_of_a_run_is_an_error(tmp_path, capsys, text):
  (tmp_path / "results.json").write_text(text)
  for refuse in (command.main, lambda flags: table.main(flags[1:])):
    flags = [f"--to={tmp_path}", f"--skip={tmp_path}/results.json"]
    assert refuse(flags if refuse is command.main else ["", str(tmp_path / "results.json")]) == 2
    assert "results.json is not the results.json of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
  "flag", ["--only=spead", "--seconds=0", "--peer=/nowhere", "--skip=/nowhere", "--bring=/nowhere"]
)
def test_invalid_flags_are_reported_in_one_line(tmp_path, capsys, flag):
  assert command.main([f"--to={tmp_path}", flag]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")


def test_seconds_are_divided_in_proportion_to_the_budgets():
  both = command.budgets(command.parse(["--to=x", "--only=speed,peer", "--seconds=100"]))
  assert both == {"speed": 60.0, "peer": 40.0}
  assert command.budgets(command.parse(["--to=x"])) == plan.BUDGETS


def test_caches_are_restored_from_archives_of_limited_size(tmp_path):
  source = tmp_path / "source"
  (source / "jax/autotune").mkdir(parents=True)
  files = {"jax/a": 700_000, "jax/b": 700_000, "jax/autotune/c": 10, "jax/large": 3_000_000}
  for name, size in files.items():
    (source / name).write_bytes(bytes([size % 251]) * size)
  written, left_out = caches.save(source, tmp_path, num_archives=2, archive_mib=1)
  assert (written, left_out) == (1_400_010, 3_000_000)
  archives = list(tmp_path.glob("cache-*.tar"))
  assert len(archives) == 2
  assert max(path.stat().st_size for path in archives) <= 2**20
  assert caches.restore(tmp_path, tmp_path / "restored") == 2
  restored = {
    str(path.relative_to(tmp_path / "restored")) for path in (tmp_path / "restored").rglob("*") if path.is_file()
  }
  assert restored == {"jax/a", "jax/b", "jax/autotune/c"}
  assert (tmp_path / "restored/jax/a").read_bytes() == (source / "jax/a").read_bytes()


def test_the_folder_of_caches_is_empty_and_always_has_the_same_path():
  with caches.folder() as first:
    (first / "program").touch()
  with caches.folder() as second:
    assert second == first
    assert not list(second.iterdir())


def test_a_second_run_at_the_same_time_is_an_error(tmp_path, capsys):
  with caches.folder() as folder:
    (folder / "program").touch()
    assert command.main([f"--to={tmp_path}"]) == 2
    assert "another run of benchmarks.gpu is in progress" in capsys.readouterr().err
    assert (folder / "program").exists()


def test_after_a_batch_that_does_not_fit_no_larger_batch_is_tried(monkeypatch):
  tried = []

  def resolve(_):
    class Step:
      def __init__(self, batch_size, **_):
        self.batch_size = batch_size

      def measure(self):
        tried.append(self.batch_size)
        if self.batch_size > 128:
          raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return {}

    return Step

  monkeypatch.setattr(worker, "resolve", resolve)
  lines = []
  worker.run([plan.step(batch_size=size) for size in (64, 256, 128, 512)], lines.append)
  assert tried == [64, 256, 128]
  assert [line["result"].get("fits", True) for line in lines if "row" in line] == [True, False, True]


def test_every_wheel_is_pinned_and_promise_is_built_from_source():
  assert all(line.count("==") == 1 for line in wheels.listed())
  download, build = wheels.commands("folder")
  assert [word for word in build if "==" in word] == ["promise==2.3"]
  assert not any(word.startswith("promise") for word in download)


def test_every_requirement_is_a_listed_wheel_or_installed_with_jax_flax_orbax_torch_or_transformers():
  lines = (measuring.ROOT / "requirements.txt").read_text().splitlines()
  required = {line.split("==")[0].lower() for line in lines if "==" in line}
  installed = {
    "absl-py", "etils", "flatbuffers", "flax", "fsspec", "httpx2", "huggingface_hub", "jax", "msgpack", "numpy",
    "optax", "orbax-checkpoint", "pillow", "regex", "safetensors", "scipy", "tokenizers", "tqdm", "transformers",
  }  # fmt: skip
  assert required - {line.split("==")[0].lower() for line in wheels.listed()} == installed


def test_a_mock_topology_is_set_in_a_separate_process():
  # CPUs ignore it and have no slices.
  found = topology.slices("2x8x1")
  assert found["devices_by_slice_index"] == {"None": found["num_devices"]}


@pytest.mark.slow
def test_the_short_form_runs_everything_once(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  assert command.main([f"--to={tmp_path}", "--short", "--seconds=2000"]) == 0, capsys.readouterr().err[-3000:]
  kept = json.loads((tmp_path / "results.json").read_text())["rows"]
  assert list(kept) == [row.key for row in plan.SHORT]
  assert {key for key, row in kept.items() if row["status"] != "done"} == {
    row.key for row in plan.SHORT if row.part == "peer"
  }
