"""The TPUs that a plan can be made for, and the devices of a topology of them."""

import dataclasses
import importlib.util
import re

import jax
from jax.experimental import topologies

from tireid_jax.errors import UserError

GIB = 2**30

_SLICES_2D = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_SLICES_3D = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")


@dataclasses.dataclass(frozen=True)
class Chip:
  """A TPU. Figures are of one device, which is a chip, but half of a tpu7x.

  Attributes:
    hbm_bytes: memory that the compiler lets a program have.
    peak_flops: bfloat16 operations a second.
    clock_hz: cycles a second, in which the compiler's estimates are.
    link_bytes: a second that a device can send to its neighbours, over all of its links together (ICI).
    slices: shapes that can be had, up to 256 chips.
    dcn_bytes: a second that a device can send to other slices, over the data-center network; None where none is
      published.
    devices_per_chip: as jax counts them.
    options: what libtpu must be told to lay out the chip so.
  """

  hbm_bytes: float
  peak_flops: float
  clock_hz: float
  link_bytes: float
  slices: tuple[str, ...]
  dcn_bytes: float | None = None
  devices_per_chip: int = 1
  options: dict = dataclasses.field(default_factory=dict)


# Peak, links and slices: Google's pages of each TPU (cloud.google.com/tpu/docs/v4 and so on), whose "1,600 Gbps" and
# "400 GBps bidirectional" are both 200 GB/s to send. Data-center network: the same pages, 6.4 and 25.6 Tbps per pod of
# 256 chips for v5e and v6e, 50 Gbps per chip for v5p.
# Memory: what libtpu 0.0.42.1 names as available when it refuses a program that is too large.
# Clock: of v4 by Jouppi et al., ISCA 2023 (arXiv 2304.01433), of v5e by "How to Scale Your Model"
# (jax-ml.github.io/scaling-book/tpus). These and v5p's are also what makes the published peak of the published units:
# 2 x 128 x 128 x 4 operations a cycle and core, two cores in v4 and v5p. For v6e and tpu7x no clock is published; it is
# inferred from the peak and 2 x 256 x 256 x 4 operations a cycle and core. They cannot be the 2 x 256 x 256 x 2 of
# the pages, since the compiler's own estimate for a product of 4,096 comes to 455,675 a cycle in v6e; and with these
# clocks the bytes that it moves a cycle make 81% of the published bandwidth in v6e, as in v5e, and 75% in tpu7x.
CHIPS = {
  "v4": Chip(30.75 * GIB, 275e12, 1.05e9, 300e9, _SLICES_3D, options={"chip_config_name": "megacore"}),
  "v5e": Chip(15.75 * GIB, 197e12, 1.5e9, 200e9, _SLICES_2D, dcn_bytes=3.125e9),
  "v5p": Chip(95.74 * GIB, 459e12, 1.75e9, 600e9, _SLICES_3D, dcn_bytes=6.25e9),
  "v6e": Chip(31.25 * GIB, 918e12, 1.75e9, 400e9, _SLICES_2D, dcn_bytes=12.5e9),
  "tpu7x": Chip(94.75 * GIB, 2307e12 / 2, 2.2e9, 300e9, _SLICES_3D, devices_per_chip=2),
}


def find(topology):
  """Returns the Chip of a topology, as "v5e:4x4"; None of "cpu:8".

  Raises:
    ValueError: for one that is neither, or whose compiler is not installed.
  """
  name, _, shape = topology.partition(":")
  if name == "cpu":
    if not re.fullmatch(r"[1-9]\d*", shape):
      raise UserError(f"--topology={topology} must say how many CPU devices, as cpu:8")
    return None
  if name not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
    raise UserError(
      f"--topology={topology} is no topology; it must be cpu:N or a TPU ({', '.join(CHIPS)}) and its shape, as v5e:4x4"
    )
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
      f"--topology={topology} needs the TPU's compiler, which is not installed; run `make .venv-tpu/run` and "
      f".venv-tpu/bin/python -m tireid_jax.plan (or pip install -r requirements-tpu.txt in an environment of its own)"
    )
  return CHIPS[name]


def devices(topology, num_slices=1):
  """Returns the devices of so many slices of a topology; those of a TPU can be compiled for but not run on.

  CPU devices are this process' own, whose number is set when they are first used: it cannot change later.

  Raises:
    ValueError: for a topology that there is not, or slices of CPUs.
  """
  if num_slices < 1:
    raise UserError(f"--slices={num_slices} must be at least 1")
  chip = find(topology)
  name, _, shape = topology.partition(":")
  if chip is None and num_slices > 1:
    raise UserError(f"--slices={num_slices} is for TPUs; --config.mesh.num_slices splits the devices of {topology}")
  if chip is None:
    jax.config.update("jax_num_cpu_devices", int(shape))
    return jax.devices("cpu")
  sides = [int(side) for side in shape.split("x")]
  # A host holds 2 x 2 chips; there are slices of a single chip.
  bounds = (*(min(2, side) for side in sides[:2]), 1)
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, chips_per_host_bounds=bounds, num_slices=num_slices, **chip.options
    )
  except jax.errors.JaxRuntimeError as error:
    raise UserError(
      f"--topology={topology} is refused by the TPU's compiler ({error}); usual ones are "
      f"{', '.join(f'{name}:{usual}' for usual in chip.slices)}"
    ) from error
  return found.devices
