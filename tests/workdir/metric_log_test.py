"""Metric logs of runs that are killed, resumed or do not write, on disk and in a bucket."""

import json
import subprocess
import sys

import pytest
from tensorboardX.proto import event_pb2

from tests.faults.equality import read_events
from tireid_jax.storage import files, gcs, locations
from tireid_jax.workdir import metric_log


def steps(folder):
  return [record["step"] for record in metric_log.read_metrics(folder)]


def write(folder, written, **options):
  with metric_log.MetricWriter(folder, **options) as writer:
    for step in written:
      writer.write(step, {"loss/total": float(step)})


def test_each_write_is_a_line_with_step_seconds_and_values(tmp_path):
  write(tmp_path, [10, 20])
  first, second = metric_log.read_metrics(tmp_path)
  assert {**first, "seconds": 0} == {"step": 10, "seconds": 0, "loss/total": 10.0}
  assert 0 <= first["seconds"] <= second["seconds"]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
  with metric_log.MetricWriter(tmp_path) as writer:
    writer.write(1, {"loss/total": 2.0})
    assert steps(tmp_path) == [1]


def test_resuming_discards_records_after_the_resumed_step(tmp_path):
  write(tmp_path, [1, 2, 3, 4])
  write(tmp_path, [3, 4, 5], first_step=2)
  assert steps(tmp_path) == [1, 2, 3, 4, 5]


def test_resuming_continues_the_count_of_seconds(tmp_path):
  (tmp_path / metric_log.METRICS_FILE).write_text('{"step": 1, "seconds": 50.0}\n{"step": 2, "seconds": 90.0}\n')
  write(tmp_path, [2], first_step=1)
  assert 50 <= metric_log.read_metrics(tmp_path)[-1]["seconds"] < 90


def test_a_run_that_starts_over_discards_the_previous_records(tmp_path):
  write(tmp_path, [1, 2, 3])
  write(tmp_path, [1])
  assert steps(tmp_path) == [1]


def test_a_last_line_truncated_by_a_kill_is_ignored_and_overwritten(tmp_path):
  write(tmp_path, [1, 2])
  path = tmp_path / metric_log.METRICS_FILE
  path.write_text(path.read_text() + '{"step": 3, "seco')
  assert steps(tmp_path) == [1, 2]
  write(tmp_path, [3], first_step=2)
  assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_folder_without_a_log_has_no_metrics(tmp_path):
  assert metric_log.read_metrics(tmp_path / "nowhere") == []


def test_a_disabled_writer_writes_nothing(tmp_path):
  write(tmp_path / "stage1", [1, 2], enabled=False)
  assert not (tmp_path / "stage1").exists()


def test_events_are_written_without_tensorflow(tmp_path):
  code = f"""
import sys
from tireid_jax.workdir.metric_log import MetricWriter
with MetricWriter({str(tmp_path)!r}) as writer:
  writer.write(1, {{"loss/total": 2.0}})
assert not {{"tensorflow", "tensorboard", "torch"}} & set(sys.modules)
"""
  subprocess.run([sys.executable, "-c", code], check=True)
  events = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
  assert len(events) == 1
  assert b"loss/total" in events[0].read_bytes()


def test_tensorboard_shows_each_step_once_after_a_kill_before_the_first_checkpoint(tmp_path):
  write(tmp_path, [1, 2, 3])
  (file,) = (tmp_path / "tensorboard").iterdir()
  file.rename(file.with_name("events.out.tfevents.0.before"))  # files written in the same second have the same name
  write(tmp_path, [1, 2])
  assert read_events(tmp_path / "tensorboard") == [(1, "loss/total", 1.0), (2, "loss/total", 2.0)]


def events(bucket, folder):
  """Returns the events of each event file in a bucket, in order."""
  found = []
  for content in gcs.read_objects(locations.to_path(f"{folder}/tensorboard")):
    found.append([])
    while content:
      size = int.from_bytes(content[:8], "little")
      found[-1].append(event_pb2.Event.FromString(content[12 : 12 + size]))
      content = content[16 + size :]
  return found


def test_in_a_bucket_each_write_is_an_object_and_all_are_read_as_one_log(bucket):
  folder = f"{bucket.url}/log/sequence"
  with metric_log.MetricWriter(folder) as writer:
    writer.write(9, {"loss/total": 9.0})
    writer.write(10, {"loss/total": 10.0})
    writer.write(10, {"val/t2i/R@1": 50.0})
    writer.wait()
    assert [record["step"] for record in metric_log.read_metrics(folder)] == [9, 10, 10]
    writer.write(100, {"loss/total": 100.0})
  assert bucket.names(f"{folder}/metrics.jsonl") == [
    "000000009-0.jsonl", "000000010-0.jsonl", "000000010-1.jsonl", "000000100-0.jsonl",
  ]  # fmt: skip
  first, _, validation, last = metric_log.read_metrics(folder)
  assert {**first, "seconds": 0} == {"step": 9, "seconds": 0, "loss/total": 9.0}
  assert validation["val/t2i/R@1"] == 50.0
  assert 0 <= first["seconds"] <= last["seconds"]


def test_in_a_bucket_an_event_file_is_written_for_each_record(bucket):
  folder = f"{bucket.url}/log/events"
  write(folder, [1, 2])
  write(folder, [2], first_step=1)
  assert [name.rpartition(".")[2] for name in bucket.names(f"{folder}/tensorboard")] == ["000000001-0", "000000002-0"]
  first, second = events(bucket, folder)
  assert [event.file_version for event in (first[0], second[0])] == ["brain.Event:2"] * 2
  (value,) = first[-1].summary.value
  assert (first[-1].step, value.tag, value.simple_value) == (1, "loss/total", 1.0)
  # TensorBoard discards the steps that it has already read from this one on.
  assert [event.step for event in second if event.HasField("session_log")] == [2]


@pytest.mark.parametrize("first_step", [0, 2])
def test_in_a_bucket_resuming_discards_records_after_the_resumed_step(bucket, first_step):
  folder = f"{bucket.url}/log/resumed{first_step}"
  write(folder, [1, 2, 3, 10, 11])
  write(folder, [3, 4], first_step=first_step)
  kept = [1, 2, 3, 4][-2 - first_step :]
  assert steps(folder) == kept
  assert [step[-1].step for step in events(bucket, folder)] == kept
  purged = [event.step for step in events(bucket, folder) for event in step if event.HasField("session_log")]
  assert purged == [first_step + 1]


def test_in_a_bucket_a_kill_while_records_are_deleted_leaves_no_gap(bucket, monkeypatch):
  folder = f"{bucket.url}/log/dropped"
  write(folder, [1, 2, 3, 4])
  path = type(locations.to_path(folder))
  unlink = path.unlink
  monkeypatch.setattr(path, "unlink", lambda self: unlink(self) if "4-" in self.name else 1 / 0)
  with pytest.raises(ZeroDivisionError):
    metric_log.MetricWriter(folder, first_step=1)
  assert steps(folder) == [1, 2, 3]


def test_in_a_bucket_resuming_continues_the_count_of_seconds(bucket):
  folder = f"{bucket.url}/log/seconds"
  files.write_bytes(f"{folder}/metrics.jsonl/000000001-0.jsonl", b'{"step": 1, "seconds": 50.0}\n')
  write(folder, [2], first_step=1)
  assert 50 <= metric_log.read_metrics(folder)[-1]["seconds"] < 90


def test_in_a_bucket_a_failed_write_ends_the_run(bucket, monkeypatch):
  def fail(*_):
    raise OSError("the network is gone")

  monkeypatch.setattr(files, "write_bytes", fail)
  with pytest.raises(OSError, match="the network is gone"):
    write(f"{bucket.url}/log/failed", [1])
