"""The plan with the TPU compiler, which does not need a TPU."""

import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding
from PIL import Image

from tests.commands import run
from tests.plan.command_test import TINY
from tireid_jax.plan import chips, costs, hlo, step


def plan(path, *flags, config=TINY[0]):
  """Returns (plans as JSON data, standard output)."""
  done = run("plan", config, *TINY[1:], *flags, f"--json={path}")
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(path.read_text()), done.stdout


def compiled(function, *shapes, topology="v5e:2x2"):
  """Returns the Module of a function of bfloat16 arrays, compiled for one device of a topology."""
  placement = SingleDeviceSharding(chips.devices(topology)[0])
  arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=placement) for shape in shapes]
  return hlo.Module(jax.jit(function, out_shardings=placement).lower(*arrays).compile().as_text())


def test_the_real_step_is_compiled_for_a_slice(tmp_path):
  found, text = plan(tmp_path / "plan.json", "--topology=v5e:2x2")
  estimate, memory = found["estimate"], found["memory"]
  assert (found["chips"], found["precision"]) == (4, "bfloat16")
  assert memory["fits"]
  assert 50e6 < memory["arguments"] < memory["total"] < 0.1 * memory["capacity"]
  assert found["rematerialized"] == []
  # The gradient of every trained weight is all-reduced over the four chips, with two or four bytes per element.
  summed = sum(c["num_bytes"] for c in found["collectives"] if c["kind"] == "all-reduce" and c["group_size"] == 4)
  assert 2 * 4_000_000 < summed < 4 * 6_000_000
  assert estimate["unknown_loops"] == []
  assert len(estimate["operations"]) == 10
  assert 0 < sum(operation["cycles"] for operation in estimate["operations"]) < estimate["cycles"]
  assert estimate["seconds"] == pytest.approx(estimate["cycles"] / 1.5e9)
  assert estimate["peak_share"] == pytest.approx(found["matrix_flops"] / (estimate["seconds"] * 4 * 197e12))
  assert f"estimate: {16 / estimate['seconds']:,.0f} examples/s" in text
  assert "fits: " in text


def test_two_slices_all_reduce_their_gradients_over_the_data_center_network(tmp_path):
  found, text = plan(tmp_path / "plan.json", "--topology=v5e:2x2", "--slices=2", "--dcn_gbps=100")
  assert (found["slices"], found["chips"], found["mesh"]["data"]) == (2, 8, 8)
  between = [c for c in found["collectives"] if c["network"] == "dcn"]
  # The largest, by hand: each chip of a slice holds a quarter of the gradient of the token embeddings, f32[49408, 64]
  # with columns padded to the 128 lanes of a chip, and sends 2 (S - 1) / S of it.
  table = max(between, key=lambda c: c["sent_bytes"])
  assert (table["kind"], table["group_size"], table["runs"]) == ("all-reduce", 2, 1)
  assert table["sent_bytes"] == 49_408 * 128 * 4 / 4 * 2 * (2 - 1) / 2
  # Of all trained weights, with two or four bytes per element, and up to twice as much because of padding.
  summed = 4 * sum(c["num_bytes"] * c["runs"] for c in between if c["kind"] == "all-reduce")
  assert 2 * 4_000_000 < summed < 2 * 4 * 6_000_000
  estimate = found["estimate"]
  assert estimate["dcn_seconds"] == pytest.approx(sum(c["sent_bytes"] for c in between) / 12.5e9)
  assert estimate["examples_per_second_sending_after"] == pytest.approx(
    16 / (estimate["seconds"] + estimate["link_seconds"] + estimate["dcn_seconds"])
  )
  assert "MB sent by each device to other slices per step" in text


def test_an_unknown_network_bandwidth_must_be_given():
  done = run("plan", *TINY, "--topology=v4:2x2x1", "--slices=2", "--config.model.blocks=loop")
  assert done.returncode == 2
  assert "no data-center bandwidth is published for v4:2x2x1; give it as --dcn_gbps=N" in done.stderr.splitlines()[-1]


def test_a_sweep_finds_the_largest_batch_and_plots_the_scaling(tmp_path):
  # RSTPReid with one caption of each identity per epoch: 3,701, so that 2,048 is the largest power of two.
  sampler = ("--config.stage2.sampler.kind=identities", "--config.stage2.sampler.captions_per_identity=1")
  # A loop compiles in a fifth of the time.
  flags = (
    *sampler,
    "--config.model.blocks=loop",
    "--config.stage2.batch_size=2048",
    "--sweep",
    "--topology=v5e:1x1,v5e:2x2",
  )
  path, picture = tmp_path / "sweep.json", tmp_path / "sweep.png"
  found, text = plan(path, *flags, f"--plot={picture}", config="--config=configs/rstp.py")
  assert list(found) == ["v5e:1x1", "v5e:2x2"]
  assert [one["batch_size"] for one in found.values()] == [2048, 2048]
  assert [line.split()[0] for line in text.splitlines()] == ["topology", "v5e:1x1", "v5e:2x2"]
  assert Image.open(picture).format == "PNG"


def test_the_memory_that_an_oversized_program_needs_is_reported():
  placement = SingleDeviceSharding(chips.devices("v5e:1x1")[0])
  large = jax.ShapeDtypeStruct((2**17, 2**17), jnp.bfloat16, sharding=placement)
  lowered = jax.jit(lambda x: jnp.sin(x[::-1]), out_shardings=placement).lower(large)
  result, needed = step._compile(lowered)
  assert result is None
  # The input and the output take 32 GiB each; a chip has 15.75 GiB.
  assert needed >= 2**35


@pytest.mark.parametrize("name", chips.CHIPS)
def test_a_large_product_is_estimated_near_but_not_above_the_peak(name):
  size, chip = 4096, chips.CHIPS[name]
  module = compiled(lambda a, b: a @ b, (size, size), (size, size), topology=f"{name}:{chip.slices[1]}")
  seconds = sum(operation.cycles for operation in costs.operations(module)) / chip.clock_hz
  assert 0.7 < 2 * size**3 / seconds / chip.peak_flops <= 1


def test_a_loop_costs_about_as_much_as_its_unrolled_iterations():
  def iterate(x, weights, unroll):
    return jax.lax.scan(lambda x, weight: (jnp.tanh(x @ weight), None), x, weights, unroll=unroll)[0]

  shapes = (4096, 1024), (12, 1024, 1024)
  looped, unrolled = (
    sum(o.cycles for o in costs.operations(compiled(lambda x, w, unroll=unroll: iterate(x, w, unroll), *shapes)))
    for unroll in (1, 12)
  )
  # The compiler does not merge iterations of a loop. If the body were counted only once, the ratio would be a sixth.
  assert 1 < looped / unrolled < 3


def test_an_unavailable_slice_shape_is_reported_in_one_line():
  done = run("plan", *TINY, "--topology=v5e:3x3")
  assert done.returncode == 2
  assert "--topology=v5e:3x3 is rejected by the TPU's compiler" in done.stderr
  assert "available shapes are v5e:1x1, v5e:2x2" in done.stderr
