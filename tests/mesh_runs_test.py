"""Training steps agree on any mesh and in two processes, and fsdp shards the state."""

import pytest

from tests.mesh_runs import MESHES, RUNS, difference, run_all

pytestmark = pytest.mark.slow

every_run = pytest.mark.parametrize("run", RUNS, ids=" ".join)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  return run_all(tmp_path_factory.mktemp("agreement"))


@every_run
@pytest.mark.parametrize(("kind", "bound"), [("loss", 1e-5), ("gradient", 1e-5), ("weight", 0.2)])
def test_steps_agree_with_one_device(results, run, kind, bound):
  largest, where = difference(results, run, kind)
  assert largest <= bound, where


@every_run
def test_the_state_is_updated_in_place_and_keeps_its_sharding(results, run):
  found = results[run]
  assert found["is_in_place"]
  assert found["bytes/aliased"] == found["bytes/state"]
  assert found["bytes/arguments"] == found["bytes/state"] + found["bytes/batch"]


def test_each_device_along_fsdp_holds_only_its_shard_of_the_state(results):
  """Replicated weights (position embeddings, biases, LayerNorms) are a large fraction of this small model."""
  whole = results["alone", "stage2:1,1,1"]["bytes/state"]
  assert results["one process", "stage2:8,1,1"]["bytes/state"] == whole
  assert results["one process", "stage2:1,8,1"]["bytes/state"] < 0.2 * whole
  assert results["one process", "stage2:2,2,2"]["bytes/state"] < 0.4 * whole


def test_each_device_holds_only_its_shard_of_the_activations_on_any_mesh(results):
  alone = results["alone", "stage2:1,1,1"]["bytes/temporaries"]
  for mesh in MESHES:
    assert results["one process", f"stage2:{mesh}"]["bytes/temporaries"] < 0.25 * alone, mesh


def test_no_device_holds_the_whole_logits(results):
  assert results["alone", "stage2:1,1,1"]["has_whole_logits"]
  assert not any(results[run]["has_whole_logits"] for run in RUNS)


def test_chunks_reduce_the_temporary_memory_per_device_on_a_mesh(results):
  whole, chunks = (results["one process", f"{case}:2,2,2"]["bytes/temporaries"] for case in ("stage2", "stage2_chunks"))
  assert chunks < 0.85 * whole
