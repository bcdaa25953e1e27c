"""The command on this machine's CPU devices: compiles the real step without data or weights."""

import json

import pytest

from tests.forked import run

TINY = (
  "--config=configs/cuhk.py",
  "--stage=2",
  "--config.model.variant=tiny",
  "--config.data.image_size=(48,24)",
  "--config.prompts.depth=2",
  "--config.stage2.augment.pad=2",
  "--config.stage2.batch_size=16",
  "--config.data_dir=/nowhere",
)


# FLOPs per example in the blocks before the last, without attention. Image: 3 blocks of width 128 over 3 patches, the
# class token and 4 prompts; text: 2 blocks of width 64 over 77 + 4 tokens. A block has 12 D^2 weights, and each takes
# 2 FLOPs per token.
STACKED = 2 * (3 * 12 * 128**2 * 8 + 2 * 12 * 64**2 * 81)
# The last block applies 2 D^2 weights, of keys and values, to every token and the others to one token.
LAST = 2 * (128**2 * (2 * 8 + 10) + 64**2 * (2 * 81 + 10))


def plan(path, *flags):
  """Returns (plan as JSON data, standard output)."""
  done = run("plan", *TINY, *flags, f"--json={path}")
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(path.read_text()), done.stdout


@pytest.fixture(scope="module")
def by_mesh(tmp_path_factory):
  folder = tmp_path_factory.mktemp("plans")
  return {
    "data": plan(folder / "data.json", "--topology=cpu:4"),
    "fsdp": plan(folder / "fsdp.json", "--topology=cpu:4", "--config.mesh.data=1", "--config.mesh.fsdp=4"),
  }


def test_a_plan_for_cpus_has_memory_flops_and_collectives_but_no_time_estimate(by_mesh):
  found, text = by_mesh["data"]
  assert (found["devices"], found["mesh"]) == (4, {"data": 4, "fsdp": 1, "model": 1})
  assert (found["precision"], found["caption_length"], found["images"]) == ("float32", 77, 16)
  assert found["steps_per_epoch"] == 68_126 // 16
  assert found["estimate"] is None
  assert "no estimate of time: the compiler has no model of a CPU" in text
  # Weights, both moments of the trained ones, and a shard of the batch: 4 bytes per value.
  assert 3 * 4 * 4_000_000 < found["memory"]["arguments"] < 3 * 4 * 6_000_000
  assert all(collective["group_size"] == 4 for collective in found["collectives"])


def test_flops_are_those_of_the_encoders(by_mesh):
  found, _ = by_mesh["data"]
  blocks = 3 * (STACKED + LAST)
  per_example = found["matrix_flops"] / found["batch_size"]
  # The rest is attention, projections and the identity head. The factor of 3 is 1 forward plus 2 for the backward pass.
  assert blocks < per_example < 1.3 * blocks


def test_fsdp_reduces_the_weights_per_device(by_mesh):
  data, fsdp = (by_mesh[name][0]["memory"]["arguments"] for name in ("data", "fsdp"))
  assert fsdp < 0.3 * data


@pytest.mark.parametrize("flags", [["--config.model.remat=full"], ["--config.stage2.microbatch_size=8"]], ids=" ".join)
def test_recomputation_is_reported_but_not_counted_as_model_flops(tmp_path, by_mesh, flags):
  found, text = plan(tmp_path / "plan.json", "--topology=cpu:1", *flags)
  assert found["matrix_flops"] == by_mesh["data"][0]["matrix_flops"]
  # The blocks' forward pass once more; with rematerialisation without the last block and without the last 4 D^2 weights
  # of the others, whose outputs no gradient needs.
  recomputed = (found["matrix_flops_with_recomputation"] - found["matrix_flops"]) / found["batch_size"]
  assert STACKED * 8 / 12 < recomputed < 1.3 * (STACKED + LAST)
  assert "more for recomputation to save memory" in text
  assert found["collectives"] == []


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--topology=v5e"], "--topology=v5e is not a topology"),
    ([], "give --config=FILE (such as configs/cuhk.py), --stage=N and --topology=NAME"),
    (["--topology=cpu:2", "--stage=all"], "--stage=all is not a stage with a training step; give 0, 1 or 2"),
    (["--topology=cpu:2,cpu:4"], "names several; give one, or --sweep too"),
    (["--topology=cpu:2", "--sweep"], "--sweep is over TPUs"),
    (["--topology=cpu:2", "--plot=x.png"], "--plot shows how a step scales; give --sweep too"),
    (
      ["--topology=cpu:4", "--slices=2"],
      "--slices=2 is for TPUs; --config.mesh.num_slices splits the devices of cpu:4",
    ),
    (["--topology=cpu:4", "--slices=0"], "--slices=0 must be at least 1"),
    (["--topology=cpu:4", "--dcn_gbps=-1"], "--dcn_gbps=-1.0 must be above 0"),
    (["--topology=cpu:3"], "stage2.batch_size is 16, which the 3 devices along data and fsdp do not divide"),
    (["--topology=cpu:2", "--config.mesh.data=3"], "which does not divide the 2 devices"),
    (["--topology=cpu:1", "--caption_length=50"], "is not in data.caption_lengths; give one of 32, 48, 64, 77"),
    (["--topology=cpu:1", "--config.stage2.batch_size=100000"], "an epoch has only 68126"),
  ],
)
def test_a_wrong_flag_is_reported_in_one_line(flags, message):
  done = run("plan", *TINY, *flags)
  assert done.returncode == 2, done.stderr[-2000:]
  assert "Traceback" not in done.stderr
  assert message in done.stderr.splitlines()[-1]
