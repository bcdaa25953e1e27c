"""The plan with the TPU's own compiler, which needs no TPU."""

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
  """Returns (the plans as data, what was printed)."""
  done = run("plan", config, *TINY[1:], *flags, f"--json={path}")
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(path.read_text()), done.stdout


def compiled(function, *shapes, topology="v5e:2x2"):
  """Returns the Module of a function of bfloat16 arrays, compiled for one device of a topology."""
  where = SingleDeviceSharding(chips.devices(topology)[0])
  arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=where) for shape in shapes]
  return hlo.Module(jax.jit(function, out_shardings=where).lower(*arrays).compile().as_text())


def test_the_real_step_is_planned_for_a_slice(tmp_path):
  found, text = plan(tmp_path / "plan.json", "--topology=v5e:2x2")
  estimate, memory = found["estimate"], found["memory"]
  assert (found["chips"], found["precision"]) == (4, "bfloat16")
  assert memory["fits"]
  assert 50e6 < memory["arguments"] < memory["total"] < 0.1 * memory["capacity"]
  assert found["rematerialized"] == []
  # Every trained weight's gradient is summed over the four chips, at two or four bytes an element.
  summed = sum(c["num_bytes"] for c in found["collectives"] if c["kind"] == "all-reduce" and c["group_size"] == 4)
  assert 2 * 4_000_000 < summed < 4 * 6_000_000
  assert estimate["unknown_loops"] == []
  assert len(estimate["operations"]) == 10
  assert 0 < sum(operation["cycles"] for operation in estimate["operations"]) < estimate["cycles"]
  assert estimate["seconds"] == pytest.approx(estimate["cycles"] / 1.5e9)
  assert estimate["peak_share"] == pytest.approx(found["matrix_flops"] / (estimate["seconds"] * 4 * 197e12))
  assert f"estimate: {16 / estimate['seconds']:,.0f} examples/s" in text
  assert "fits: " in text


def test_two_slices_sum_the_gradients_of_each_over_the_data_center_network(tmp_path):
  found, text = plan(tmp_path / "plan.json", "--topology=v5e:2x2", "--slices=2", "--dcn_gbps=100")
  assert (found["slices"], found["chips"], found["mesh"]["data"]) == (2, 8, 8)
  between = [c for c in found["collectives"] if c["network"] == "dcn"]
  # The largest by hand: of each slice a chip holds a quarter of the gradient of the token table, f32[49408, 64] with
  # its columns padded to the 128 lanes of a chip, and sends 2 (S - 1) / S of that.
  table = max(between, key=lambda c: c["sent_bytes"])
  assert (table["kind"], table["group_size"], table["runs"]) == ("all-reduce", 2, 1)
  assert table["sent_bytes"] == 49_408 * 128 * 4 / 4 * 2 * (2 - 1) / 2
  # Of all that is trained, at two or four bytes an element, and twice as much for the padding.
  summed = 4 * sum(c["num_bytes"] * c["runs"] for c in between if c["kind"] == "all-reduce")
  assert 2 * 4_000_000 < summed < 2 * 4 * 6_000_000
  estimate = found["estimate"]
  assert estimate["dcn_seconds"] == pytest.approx(sum(c["sent_bytes"] for c in between) / 12.5e9)
  assert estimate["examples_per_second_sending_after"] == pytest.approx(
    16 / (estimate["seconds"] + estimate["link_seconds"] + estimate["dcn_seconds"])
  )
  assert "MB sent by each device to other slices per step" in text


def test_a_network_of_unknown_speed_must_be_stated():
  done = run("plan", *TINY, "--topology=v4:2x2x1", "--slices=2", "--config.model.blocks=loop")
  assert done.returncode == 2
  assert "no data-center bandwidth is published for v4:2x2x1; give it as --dcn_gbps=N" in done.stderr.splitlines()[-1]


def test_a_sweep_finds_the_largest_batch_and_draws_how_it_scales(tmp_path):
  # RSTPReid, one caption of each identity an epoch: 3,701, of which 2,048 is the greatest power of two.
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


def test_what_does_not_fit_is_said_with_what_it_needs():
  where = SingleDeviceSharding(chips.devices("v5e:1x1")[0])
  large = jax.ShapeDtypeStruct((2**17, 2**17), jnp.bfloat16, sharding=where)
  lowered = jax.jit(lambda x: jnp.sin(x[::-1]), out_shardings=where).lower(large)
  result, needed = step._compile(lowered)
  assert result is None
  # It and its result take 32 GiB each; a chip has 15.75.
  assert needed >= 2**35


@pytest.mark.parametrize("name", chips.CHIPS)
def test_a_large_product_comes_near_the_peak_and_never_above(name):
  size, chip = 4096, chips.CHIPS[name]
  module = compiled(lambda a, b: a @ b, (size, size), (size, size), topology=f"{name}:{chip.slices[1]}")
  seconds = sum(operation.cycles for operation in costs.operations(module)) / chip.clock_hz
  assert 0.7 < 2 * size**3 / seconds / chip.peak_flops <= 1


def test_a_loop_costs_what_its_unrolled_rounds_cost():
  def rounds(x, weights, unroll):
    return jax.lax.scan(lambda x, weight: (jnp.tanh(x @ weight), None), x, weights, unroll=unroll)[0]

  shapes = (4096, 1024), (12, 1024, 1024)
  looped, unrolled = (
    sum(o.cycles for o in costs.operations(compiled(lambda x, w, unroll=unroll: rounds(x, w, unroll), *shapes)))
    for unroll in (1, 12)
  )
  # The rounds of a loop are not merged with each other; counted once instead of twelve times it would be a sixth.
  assert 1 < looped / unrolled < 3


def test_a_shape_that_there_is_not_is_one_line():
  done = run("plan", *TINY, "--topology=v5e:3x3")
  assert done.returncode == 2
  assert "--topology=v5e:3x3 is rejected by the TPU's compiler" in done.stderr
  assert "available shapes are v5e:1x1, v5e:2x2" in done.stderr
