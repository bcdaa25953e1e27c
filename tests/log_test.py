"""The metrics file of a run that is killed, resumed, or not the one that writes."""

import json
import subprocess
import sys

from tireid_jax import log


def steps(folder):
  return [record["step"] for record in log.read_metrics(folder)]


def write(folder, written, **options):
  with log.MetricWriter(folder, **options) as writer:
    for step in written:
      writer.write(step, {"loss/total": float(step)})


def test_a_line_a_write_with_step_seconds_and_values(tmp_path):
  write(tmp_path, [10, 20])
  first, second = log.read_metrics(tmp_path)
  assert {**first, "seconds": 0} == {"step": 10, "seconds": 0, "loss/total": 10.0}
  assert 0 <= first["seconds"] <= second["seconds"]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
  with log.MetricWriter(tmp_path) as writer:
    writer.write(1, {"loss/total": 2.0})
    assert steps(tmp_path) == [1]


def test_resuming_drops_what_was_written_beyond_the_step(tmp_path):
  write(tmp_path, [1, 2, 3, 4])
  write(tmp_path, [3, 4, 5], first_step=2)
  assert steps(tmp_path) == [1, 2, 3, 4, 5]


def test_resuming_goes_on_counting_the_seconds(tmp_path):
  (tmp_path / log.METRICS_FILE).write_text('{"step": 1, "seconds": 50.0}\n{"step": 2, "seconds": 90.0}\n')
  write(tmp_path, [2], first_step=1)
  assert 50 <= log.read_metrics(tmp_path)[-1]["seconds"] < 90


def test_a_run_from_the_start_keeps_nothing_of_the_one_before(tmp_path):
  write(tmp_path, [1, 2, 3])
  write(tmp_path, [1])
  assert steps(tmp_path) == [1]


def test_a_last_line_torn_by_a_kill_is_left_out_and_overwritten(tmp_path):
  write(tmp_path, [1, 2])
  path = tmp_path / log.METRICS_FILE
  path.write_text(path.read_text() + '{"step": 3, "seco')
  assert steps(tmp_path) == [1, 2]
  write(tmp_path, [3], first_step=2)
  assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_folder_without_a_file_has_no_metrics(tmp_path):
  assert log.read_metrics(tmp_path / "nowhere") == []


def test_a_writer_that_is_not_enabled_writes_nothing(tmp_path):
  write(tmp_path / "stage1", [1, 2], enabled=False)
  assert not (tmp_path / "stage1").exists()


def test_events_are_written_without_tensorflow(tmp_path):
  code = f"""
import sys
from tireid_jax.log import MetricWriter
with MetricWriter({str(tmp_path)!r}) as writer:
  writer.write(1, {{"loss/total": 2.0}})
assert not {{"tensorflow", "tensorboard", "torch"}} & set(sys.modules)
"""
  subprocess.run([sys.executable, "-c", code], check=True)
  events = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
  assert len(events) == 1
  assert b"loss/total" in events[0].read_bytes()
