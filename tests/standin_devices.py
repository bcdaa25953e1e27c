"""Fake devices with the attributes that are needed to arrange a mesh."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
  """A device as reported by JAX. Only `SliceDevice` has a slice_index; CPUs and older plugins have none."""

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
  """Returns the GPUs of all nodes in the order in which JAX numbers them.

  Args:
    nodes: number of GPUs of each node.
    per_process: number of GPUs of each process; by default all of a node.
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
