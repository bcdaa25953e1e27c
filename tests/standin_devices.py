"""Descriptions of devices that are not there, as detailed as laying out a mesh needs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
  """What JAX reports of a device. Without `slice_index` in `SliceDevice` alone, as CPUs and older plugins."""

  id: int
  process_index: int
  platform: str
  device_kind: str


@dataclasses.dataclass(frozen=True)
class SliceDevice(Device):
  slice_index: int
  coords: tuple = ()
  core_on_chip: int = 0


def gpus(nodes, *, per_process=None):
  """Returns the GPUs of nodes, node after node, as JAX numbers them.

  Args:
    nodes: how many GPUs each node has.
    per_process: GPUs of each process; by default one process has all of its node.
  """
  devices: list[SliceDevice] = []
  processes = 0
  for node, count in enumerate(nodes):
    size = per_process or count
    for number in range(count):
      process = processes + number // size
      devices.append(SliceDevice(len(devices), process, "gpu", "NVIDIA H100 80GB HBM3", node))
    processes += count // size
  return devices


def v5e_16(slices):
  """Returns the chips of v5e-16 slices: 4 x 4 chips each, 2 x 2 of them on a host with one process."""
  devices: list[SliceDevice] = []
  for number in range(slices):
    for host in range(4):
      for chip in range(4):
        coords = (host % 2 * 2 + chip % 2, host // 2 * 2 + chip // 2, 0)
        devices.append(SliceDevice(len(devices), 4 * number + host, "tpu", "TPU v5 lite", number, coords))
  return devices
