"""Commands with a workdir in a bucket: runs equal those on disk, also when killed or moved to other devices."""

import io
import json
import signal

import chex
import numpy as np
import pytest

from configs import rstp
from tests import exports
from tests.commands import SMALL, command, succeed
from tests.data.trees import make_tree
from tests.models.trees import write_hf_clip
from tests.processes import Processes, logged_step, multiprocess_commands
from tireid_jax import compare, export
from tireid_jax.data.prepare import prepare
from tireid_jax.evaluation import score_file, significance
from tireid_jax.models import pretrained
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.storage import gcs, locations
from tireid_jax.training import sources
from tireid_jax.workdir import checkpoint, digests
from tireid_jax.workdir.metric_log import read_metrics

pytestmark = pytest.mark.slow

LEARNING_RATE = 3.5e-4
# Values that depend on the clock.
TIME_DEPENDENT = ("seconds", "speed/examples_per_second")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
  folder = tmp_path_factory.mktemp("bucket")
  make_tree(folder / "raw", "rstp_reid", num_ids={"train": 8, "val": 3, "test": 3})
  prepare("rstp_reid", folder / "raw", folder / "data", (48, 24), show_progress=False)
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  return (
    "--config=configs/rstp.py", *SMALL, f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/clip",
    f"--config.stage1.learning_rate={LEARNING_RATE}", "--config.checkpoint_every_steps=3", "--config.stage2.epochs=1",
  )  # fmt: skip


@pytest.fixture(scope="module")
def runs(flags, bucket, tmp_path_factory):
  """The workdirs of uninterrupted runs of both stages, on disk and in a bucket."""
  disk, remote = tmp_path_factory.mktemp("disk"), locations.to_path(f"{bucket.url}/run")
  both = [command("main", *flags, "--stage=all", f"--workdir={folder}") for folder in (disk, remote)]
  with Processes(both) as processes:
    processes.succeed()
  return disk, remote


def result(stage_folder):
  found = json.loads((stage_folder / "result.json").read_text())
  return {name: value for name, value in found.items() if name not in TIME_DEPENDENT}


def metrics(stage_folder):
  return [
    {name: value for name, value in record.items() if name not in TIME_DEPENDENT}
    for record in read_metrics(stage_folder)
  ]


def ranks(stage_folder):
  with np.load(io.BytesIO((stage_folder / "ranks_test.npz").read_bytes())) as arrays:
    return dict(arrays)


def variables(stage_folder, step):
  return checkpoint.restore_variables(stage_folder, step, sharding.make_mesh(-1, 1, 1))[0]


def assert_equal(ours, theirs):
  """Asserts that two stage folders have the same content, except for times."""
  assert result(ours) == result(theirs)
  assert metrics(ours) == metrics(theirs)
  chex.assert_trees_all_equal(ranks(ours), ranks(theirs))
  chosen = checkpoint.best_step(ours)
  assert chosen == checkpoint.best_step(theirs)
  for step in {chosen, logged_step(ours)}:
    chex.assert_trees_all_equal(variables(ours, step), variables(theirs, step))


def test_a_run_in_a_bucket_equals_the_run_on_disk(runs, bucket):
  disk, remote = runs
  for stage in ("stage1", "stage2"):
    assert_equal(remote / stage, disk / stage)
    creation_times = bucket.creation_times(remote / stage)
    assert max(creation_times, key=creation_times.get) == "result.json"
    kept = {checkpoint.best_step(remote / stage), logged_step(remote / stage)}
    saved = bucket.saved_steps(remote / stage)
    assert kept <= saved  # and the second newest
    assert len(saved) <= 3
    assert bucket.saving_steps(remote / stage) == set()
    assert set(digests.known_steps(remote / stage)) == saved
    for step in saved:
      assert digests.fault(remote / stage, step, remote / stage / "checkpoints" / str(step)) == ""
  for name in ("config.json", "stage1/config.json", "stage2/config.json"):
    assert json.loads((remote / name).read_text()) == json.loads((disk / name).read_text())


def test_a_run_killed_during_a_save_ends_bit_equal(flags, runs, bucket):
  stage_folder = locations.to_path(f"{bucket.url}/killed/stage1")
  main = command("main", *flags, "--stage=1", f"--workdir={stage_folder.parent}")
  while not bucket.saving_steps(stage_folder):  # try again if the save completed just before the signal
    with Processes([main]) as one:
      one.wait_until(lambda: bucket.saved_steps(stage_folder) and bucket.saving_steps(stage_folder))
      one.processes[0].kill()
      one.wait()
  resumed = max(bucket.saved_steps(stage_folder))
  with Processes([main]) as one:
    assert f"resumed at step {resumed}" in one.succeed().errors(0)
  assert bucket.saving_steps(stage_folder) == set()
  assert_equal(stage_folder, runs[0] / "stage1")


def test_a_run_moved_from_four_devices_to_two_processes_matches_a_single_device(flags, runs, bucket):
  ours, theirs = locations.to_path(f"{bucket.url}/moved/stage1"), runs[0] / "stage1"
  main = command("main", *flags, "--stage=1", f"--workdir={ours.parent}")
  with Processes([main], num_devices=4) as one:
    one.wait_until(lambda: logged_step(ours) > 0)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.wait() == [128 + signal.SIGTERM]
  saved = max(bucket.saved_steps(ours))
  with Processes(multiprocess_commands(main)) as both:
    assert f"resumed at step {saved}" in both.succeed().errors(0)
  parts = {name.split("/")[2] for name in bucket.names(ours / "checkpoints") if "/variables/ocdbt" in name}
  assert parts == {"ocdbt.process_0", "ocdbt.process_1"}
  losses, expected = (
    {record["step"]: record["loss/total"] for record in read_metrics(stage_folder) if "loss/total" in record}
    for stage_folder in (ours, theirs)
  )
  assert list(losses) == list(expected)
  np.testing.assert_allclose(list(losses.values()), list(expected.values()), rtol=1e-5)
  assert result(ours) == result(theirs)
  ours, theirs = (variables(stage_folder, logged_step(stage_folder)) for stage_folder in (ours, theirs))
  chex.assert_trees_all_equal(ours["params"], theirs["params"])
  chex.assert_trees_all_close(ours["prompts"], theirs["prompts"], atol=0.2 * LEARNING_RATE, rtol=0)


def test_evaluate_and_compare_read_and_write_in_a_bucket(runs, bucket):
  _, remote = runs
  dump = f"{bucket.url}/dump/ranks.npz"
  printed = succeed("evaluate", f"--workdir={remote}", "--stage=2", f"--dump={dump}")
  assert f"{result(remote / 'stage2')['t2i']['R@1']:.2f}" in printed
  paths = compare.find_results(str(remote), dump)
  assert list(map(str, paths)) == [f"{remote}/stage2/ranks_test.npz", dump]
  rows = significance.compare(*map(score_file.read, paths), num_resamples=20)
  assert {row["W2-W1"] for row in rows} == {0.0}


def test_a_stage_can_start_from_a_workdir_in_a_bucket_but_not_from_published_weights_there(runs, bucket):
  config, (_, remote) = rstp.get_config(), runs
  for init_from in (str(remote), f"{remote}/stage1"):
    assert sources.find_source(config, init_from, "elsewhere", 2) == ("checkpoint", remote / "stage1")
  config.pretrained = str(remote)
  assert sources.find_source(config, "pretrained", "elsewhere", 1) == ("checkpoint", remote / "stage1")
  with pytest.raises(ValueError, match="^--config.stage2.init_from=s3://b/run is not supported; give a local path or"):
    sources.find_source(config, "s3://b/run", "elsewhere", 2)
  with pytest.raises(FileNotFoundError, match="which holds no checkpoint of a run; published weights must be a local"):
    sources.find_source(config, f"{bucket.url}/clip", "elsewhere", 1)


def test_an_export_to_a_bucket_by_two_processes_can_be_loaded(tmp_path, bucket):
  model, clip = exports.random_clip((32, 16), exports.PROMPTS)
  run_folder, to = (f"{bucket.url}/exported/{name}" for name in ("run", "to"))
  exports.write_run(run_folder, model, clip)
  with Processes(multiprocess_commands(command("export", f"--workdir={run_folder}", f"--to={to}"))) as both:
    both.succeed()
    assert f"wrote {to}" in both.errors(0)
    assert "wrote" not in both.errors(1)
  names = bucket.names(to)
  assert {"README.md", "config.json", "prompts.safetensors", "image_encoder.stablehlo", "use.py"} < set(names)
  for name in names:
    (tmp_path / name).write_bytes(locations.to_path(f"{to}/{name}").read_bytes())
  _, back = pretrained.load(tmp_path, image_size=(32, 16))
  chex.assert_trees_all_equal(back["params"], clip["params"])
  with pytest.raises(ValueError, match=f"^--to={to} already exists and is not empty"):
    export.export_stage(run_folder, "2", to)


def test_an_export_to_a_bucket_uploads_its_readme_last_and_leaves_nothing_if_that_fails(bucket, monkeypatch):
  model, clip = exports.random_clip((32, 16))
  run_folder, to = (f"{bucket.url}/failed/{name}" for name in ("run", "to"))
  exports.write_run(run_folder, model, clip)
  upload = gcs.upload
  uploaded = []

  def fail_at_the_readme(file, path):
    if file.name == "README.md":
      uploaded.extend(bucket.names(to))
      raise KeyboardInterrupt
    upload(file, path)

  monkeypatch.setattr(gcs, "upload", fail_at_the_readme)
  with pytest.raises(KeyboardInterrupt):
    export.export_stage(run_folder, "2", to)
  assert len(uploaded) == 6
  assert bucket.names(to) == []
