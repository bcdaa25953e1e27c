"""The table of chips and their topologies."""

import math

import pytest

from tireid_jax.plan import chips


@pytest.mark.parametrize(
  ("topology", "message"),
  [
    ("v5e", "is not a topology; it must be cpu:N or a TPU (v4, v5e, v5p, v6e, tpu7x) and a slice shape, as in v5e:4x4"),
    ("v9:2x2", "is not a topology"),
    ("v5e:4x", "is not a topology"),
    ("cpu:0", "--topology=cpu:0 must give the number of CPU devices, as in cpu:8"),
    ("cpu", "must give the number of CPU devices"),
  ],
)
def test_an_invalid_topology_raises(topology, message):
  with pytest.raises(ValueError) as error:
    chips.find(topology)
  assert message in str(error.value)


def test_a_tpu_without_the_tpu_compiler_raises_an_error_that_says_how_to_install_it(monkeypatch):
  monkeypatch.setattr(chips.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"not installed; run `make .venv-tpu/run`.*requirements-tpu.txt"):
    chips.find("v5e:4x4")
  assert chips.find("cpu:8") is None


@pytest.mark.parametrize("name", chips.CHIPS)
def test_the_clock_and_the_matrix_units_give_the_peak(name):
  # Multiply-adds per cycle of a device: its cores, times four units, times the unit's rows and columns.
  side, cores = {"v4": (128, 2), "v5e": (128, 1), "v5p": (128, 2), "v6e": (256, 1), "tpu7x": (256, 1)}[name]
  chip = chips.CHIPS[name]
  assert math.isclose(2 * cores * 4 * side**2 * chip.clock_hz, chip.peak_flops, rel_tol=0.002)


@pytest.mark.parametrize("name", chips.CHIPS)
def test_the_slices_of_a_chip_are_in_ascending_order_up_to_256_chips(name):
  sizes = [math.prod(int(size) for size in shape.split("x")) for shape in chips.CHIPS[name].slices]
  assert sizes == sorted(set(sizes))
  assert sizes[-1] == 256
