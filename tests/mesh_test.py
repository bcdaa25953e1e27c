"""The same steps agree on any mesh and in two processes, and a device along fsdp holds its share."""

import sys

import numpy as np
import pytest

from tests.processes import Processes, by_hand

MESHES = ("8,1,1", "1,8,1", "2,2,2")
ALONE = ("stage1:1,1,1", "stage2:1,1,1")
# Eight devices of one process; the second of two chunks of the batch, the first of the whole.
TOGETHER = (*(f"{stage}:{mesh}" for mesh in MESHES for stage in ("stage1", "stage2")), "stage2_chunks:2,2,2")
# Four devices of each of two processes.
APART = ("stage1:8,1,1", "stage2:2,2,2")
RUNS = (*(("one process", run) for run in TOGETHER), *(("two processes", run) for run in APART))

every_run = pytest.mark.parametrize("run", RUNS, ids=" ".join)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  """{(processes, run): what it computed}."""

  def compute(name, runs, *, num_processes=1, num_devices):
    folder = tmp_path_factory.mktemp("agreement")
    command = [sys.executable, "-m", "tests.agreement", f"--to={folder}", *(f"--run={run}" for run in runs)]
    commands = by_hand(command, number=num_processes) if num_processes > 1 else [command]
    with Processes(commands, num_devices=num_devices) as processes:
      processes.succeed()
      # XLA's word for an array that it copied to every device, not knowing better.
      assert "Involuntary full rematerialization" not in processes.errors(0)
    return {(name, run): dict(np.load(folder / f"{run}.npz")) for run in runs}

  return {
    **compute("alone", ALONE, num_devices=1),
    **compute("one process", TOGETHER, num_devices=8),
    **compute("two processes", APART, num_processes=2, num_devices=4),
  }


def reference(results, run):
  """Returns what one device computes of a run: of the whole batch at once, whatever its chunks."""
  stage = run[1].split(":")[0].removesuffix("_chunks")
  return results["alone", f"{stage}:1,1,1"]


def pairs(ours, theirs, kind):
  """Yields (path, array of ours, array of theirs) of each leaf."""
  paths = {name for name in ours if name.startswith(f"{kind}/")}
  assert paths == {name for name in theirs if name.startswith(f"{kind}/")}
  assert paths
  for path in paths:
    yield path, ours[path], theirs[path]


def is_key_bias(path):
  """Whether a leaf's gradient is 0 in truth: it shifts all of a query's logits alike. What is there is rounding."""
  return path.endswith("attn/key/bias")


@every_run
def test_every_loss_agrees_with_one_device(results, run):
  np.testing.assert_allclose(results[run]["loss"], reference(results, run)["loss"], rtol=1e-5)


@every_run
def test_first_gradients_agree_with_one_device(results, run):
  for path, ours, theirs in pairs(results[run], reference(results, run), "gradient"):
    scale = reference(results, run)[path.replace("/key/", "/query/") if is_key_bias(path) else path]
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(scale).max(), path


@every_run
def test_weights_after_the_last_step_agree_with_one_device(results, run):
  for path, ours, theirs in pairs(results[run], reference(results, run), "weight"):
    # Adam's small eps makes steps of the rounding in a gradient that is 0.
    if not is_key_bias(path):
      assert np.abs(ours - theirs).max() <= 0.2 * results[run]["learning_rate"], path


@every_run
def test_the_state_is_updated_in_place_and_stays_where_the_table_says(results, run):
  found = results[run]
  assert found["is_in_place"]
  assert found["bytes/aliased"] == found["bytes/state"]
  assert found["bytes/arguments"] == found["bytes/state"] + found["bytes/batch"]


def test_a_device_along_fsdp_holds_its_share_of_the_state(results):
  """What stays whole, position tables, biases and norms, is much of so small a model."""
  whole = results["alone", "stage2:1,1,1"]["bytes/state"]
  assert results["one process", "stage2:8,1,1"]["bytes/state"] == whole
  assert results["one process", "stage2:1,8,1"]["bytes/state"] < 0.2 * whole
  assert results["one process", "stage2:2,2,2"]["bytes/state"] < 0.4 * whole


def test_a_device_holds_its_share_of_the_activations_on_any_mesh(results):
  alone = results["alone", "stage2:1,1,1"]["bytes/temporaries"]
  for mesh in MESHES:
    assert results["one process", f"stage2:{mesh}"]["bytes/temporaries"] < 0.25 * alone, mesh


def test_chunks_lower_what_a_device_holds_on_a_mesh(results):
  whole, chunks = (results["one process", f"{case}:2,2,2"]["bytes/temporaries"] for case in ("stage2", "stage2_chunks"))
  assert chunks < 0.85 * whole
