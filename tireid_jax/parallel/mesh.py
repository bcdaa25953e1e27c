"""The device mesh; a hybrid mesh if there are several TPU slices or GPU nodes."""

import collections
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from tireid_jax.errors import UserError

AXES = ("data", "fsdp", "model")
# Axes that may cross the data-center network (DCN) between slices. Both split the batch, so each exchanges gradients or
# weights once per step; `model` exchanges activations in every block.
DCN_AXES = ("data", "fsdp")


def make_mesh(
  data: int,
  fsdp: int,
  model: int,
  *,
  dcn_axis: str = "data",
  num_slices: int = 0,
  devices: Sequence[Any] | None = None,
) -> Mesh:
  """Returns a Mesh with these sizes along `AXES`; one of them may be -1, for all remaining devices.

  Devices of several slices form a hybrid mesh: the slices are consecutive along `dcn_axis`, the only axis that crosses
  the network between them. Within a slice, `jax.make_mesh` orders the devices for its interconnect (ICI).

  Args:
    data, fsdp, model: number of devices along each axis: data parallelism, FSDP, tensor parallelism.
    dcn_axis: one of `DCN_AXES`.
    num_slices: 0 for the slices that the devices report; N splits CPU devices, which report none, into N equal slices.
    devices: devices, or descriptions of them as of a TPU topology; all devices of the run by default.

  Raises:
    ValueError: the sizes do not fit the devices or their slices.
  """
  sizes = [data, fsdp, model]
  devices = jax.devices() if devices is None else devices
  num_devices = len(devices)
  if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
    raise UserError(f"mesh is data={data}, fsdp={fsdp}, model={model}; sizes are at least 1, and one may be -1")
  if dcn_axis not in DCN_AXES:
    raise UserError(f"mesh.dcn_axis is {dcn_axis!r}; it must be one of {', '.join(DCN_AXES)}")
  if -1 in sizes:
    sizes[sizes.index(-1)] = max(1, num_devices // -math.prod(sizes))
  if math.prod(sizes) != num_devices:
    raise UserError(
      f"mesh is data={data}, fsdp={fsdp}, model={model}, which does not divide the {num_devices} devices; "
      f"set --config.mesh.data, .fsdp and .model so that their product is {num_devices}"
    )
  slices = group_by_slice(devices, num_slices)
  crossing = AXES.index(dcn_axis)
  if sizes[crossing] % len(slices):
    other = next(axis for axis in DCN_AXES if axis != dcn_axis)
    raise UserError(
      f"mesh.{dcn_axis} is {sizes[crossing]}, but it crosses {len(slices)} slices (TPU slices or GPU nodes) and must "
      f"be a multiple of {len(slices)}; change --config.mesh.{dcn_axis}, or set --config.mesh.dcn_axis={other}"
    )
  sizes[crossing] //= len(slices)
  axis_types = (AxisType.Auto,) * len(AXES)
  # As mesh_utils.create_hybrid_device_mesh does, but that takes no CPU devices, and only make_mesh knows which TPUs
  # need their physical axes split.
  inner = [jax.make_mesh(sizes, AXES, axis_types=axis_types, devices=members).devices for members in slices]
  return Mesh(np.concatenate(inner, axis=crossing), AXES, axis_types=axis_types)


def group_by_slice(devices: Sequence[Any], num_slices: int = 0) -> Sequence[Sequence[Any]]:
  """Returns the devices of each slice; all slices have the same number.

  A slice is a group of devices with a fast interconnect: a TPU slice, or a GPU node. JAX reports its `slice_index`.

  Args:
    devices: in the order of `jax.devices()`.
    num_slices: as for `make_mesh`.

  Raises:
    ValueError: the slices differ in size, or the devices cannot be split so.
  """
  if num_slices:
    if num_slices < 0 or len(devices) % num_slices:
      raise UserError(f"mesh.num_slices is {num_slices}, which does not divide the {len(devices)} devices")
    if devices[0].platform != "cpu":
      raise UserError(
        f"mesh.num_slices={num_slices} splits CPU devices only; {devices[0].platform} devices report their slices: "
        f"leave it at 0"
      )
    size = len(devices) // num_slices
    return [devices[start : start + size] for start in range(0, len(devices), size)]
  slices = collections.defaultdict(list)
  for device in devices:
    slices[getattr(device, "slice_index", None) or 0].append(device)
  members = [slices[index] for index in sorted(slices)]
  if len({len(found) for found in members}) > 1:
    raise UserError(
      f"the slices (TPU slices or GPU nodes) have {', '.join(str(len(found)) for found in members)} devices; a mesh "
      f"needs equally many in each: start the same number of processes with the same number of devices on each node"
    )
  return members
