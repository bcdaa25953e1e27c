"""Specifications of the supported TPUs, and the devices of a topology."""

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
  """A type of TPU. Values are per device: a device is a whole chip, except on tpu7x, where it is half of one.

  Attributes:
    hbm_bytes: memory that the compiler makes available to a program.
    peak_flops: peak bfloat16 FLOP/s.
    clock_hz: clock frequency, which converts the compiler's cycle estimates to seconds.
    link_bytes: bytes/s that a device can send to its neighbours over all of its links together (ICI).
    slices: available slice shapes, up to 256 chips.
    dcn_bytes: bytes/s that a device can send to other slices over the data-center network; None if not published.
    devices_per_chip: number of jax devices per chip.
    options: options that libtpu needs for this layout of devices.
  """

  hbm_bytes: float
  peak_flops: float
  clock_hz: float
  link_bytes: float
  slices: tuple[str, ...]
  dcn_bytes: float | None = None
  devices_per_chip: int = 1
  options: dict = dataclasses.field(default_factory=dict)


# Peak, links and slices: Google's page on each TPU (cloud.google.com/tpu/docs/v4 and so on), where "1,600 Gbps" and
# "400 GBps bidirectional" both mean 200 GB/s in the sending direction. Data-center network: the same pages, 6.4 and
# 25.6 Tbps per pod of 256 chips for v5e and v6e, 50 Gbps per chip for v5p.
# Memory: what libtpu 0.0.42.1 reports as available when it rejects a program that is too large.
# Clock: v4 from Jouppi et al., ISCA 2023 (arXiv 2304.01433), v5e from "How to Scale Your Model"
# (jax-ml.github.io/scaling-book/tpus). These and v5p's agree with the published peak of the published units:
# 2 x 128 x 128 x 4 operations per cycle and core, with two cores in v4 and v5p. For v6e and tpu7x no clock is
# published; it is inferred from the peak and 2 x 256 x 256 x 4 operations per cycle and core. The 2 x 256 x 256 x 2 of
# the pages cannot be right, since the compiler's own estimate for a matrix product of size 4,096 comes to 455,675
# operations per cycle on v6e. With these clocks, the bytes per cycle in the compiler's estimates amount to 81% of the
# published memory bandwidth on v6e, as on v5e, and to 75% on tpu7x.
CHIPS = {
  "v4": Chip(30.75 * GIB, 275e12, 1.05e9, 300e9, _SLICES_3D, options={"chip_config_name": "megacore"}),
  "v5e": Chip(15.75 * GIB, 197e12, 1.5e9, 200e9, _SLICES_2D, dcn_bytes=3.125e9),
  "v5p": Chip(95.74 * GIB, 459e12, 1.75e9, 600e9, _SLICES_3D, dcn_bytes=6.25e9),
  "v6e": Chip(31.25 * GIB, 918e12, 1.75e9, 400e9, _SLICES_2D, dcn_bytes=12.5e9),
  "tpu7x": Chip(94.75 * GIB, 2307e12 / 2, 2.2e9, 300e9, _SLICES_3D, devices_per_chip=2),
}


def find(topology):
  """Returns the Chip of a topology such as "v5e:4x4", or None for a CPU topology such as "cpu:8".

  Raises:
    UserError: the topology is neither, or its compiler is not installed.
  """
  name, _, shape = topology.partition(":")
  if name == "cpu":
    if not re.fullmatch(r"[1-9]\d*", shape):
      raise UserError(f"--topology={topology} must give the number of CPU devices, as in cpu:8")
    return None
  if name not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
    raise UserError(
      f"--topology={topology} is not a topology; it must be cpu:N or a TPU ({', '.join(CHIPS)}) and a slice shape, "
      f"as in v5e:4x4"
    )
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
      f"--topology={topology} needs the TPU's compiler, which is not installed; run `make .venv-tpu/run` and "
      f".venv-tpu/bin/python -m tireid_jax.plan (or pip install -r requirements-tpu.txt in a separate environment)"
    )
  return CHIPS[name]


def devices(topology, num_slices=1):
  """Returns the devices of `num_slices` slices of a topology; one can compile for TPU devices but not run on them.

  CPU devices belong to this process. Their number is fixed when they are first used and cannot change later.

  Raises:
    UserError: the topology does not exist, or more than one slice of CPUs is requested.
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
  # A host holds 2 x 2 chips, but a slice can be a single chip.
  bounds = (*(min(2, side) for side in sides[:2]), 1)
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, chips_per_host_bounds=bounds, num_slices=num_slices, **chip.options
    )
  except jax.errors.JaxRuntimeError as error:
    raise UserError(
      f"--topology={topology} is rejected by the TPU's compiler ({error}); available shapes are "
      f"{', '.join(f'{name}:{usual}' for usual in chip.slices)}"
    ) from error
  return found.devices
