"""Where the devices of several slices, or of several GPU nodes, lie on a mesh."""

import jax
import numpy as np
import pytest
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from tests.standin_devices import Device, gpus, v5e_16
from tireid_jax.parallel import distributed, sharding
from tireid_jax.parallel.mesh import AXES, group_by_slice, make_mesh

CLUSTERS = {
  "2 nodes of 8 GPUs, a process each": gpus([8, 8]),
  "2 nodes of 8 GPUs, a process per GPU": gpus([8, 8], per_process=1),
  "4 nodes of 8 GPUs, a process each": gpus([8] * 4),
  "4 nodes of 8 GPUs, a process per GPU": gpus([8] * 4, per_process=1),
  "2 slices of v5e-16": v5e_16(2),
  "4 slices of v5e-16": v5e_16(4),
}
every_cluster = pytest.mark.parametrize("devices", CLUSTERS.values(), ids=CLUSTERS)


def cpus(number):
  return [Device(id, 0, "cpu", "cpu") for id in range(number)]


def ids(mesh):
  return np.vectorize(lambda device: device.id)(mesh.devices)


def rows_of_processes(mesh, batch_size):
  """Returns {process: rows of the batch it holds}."""
  processes = sorted({device.process_index for device in mesh.devices.flat})
  return {process: sharding.process_batch_indices(mesh, batch_size, process=process) for process in processes}


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 1, 1), (-1, 8, 1), (-1, 2, 2)], ids=str)
def test_the_rows_of_a_slice_are_contiguous(devices, sizes):
  mesh = make_mesh(*sizes, devices=devices)
  slices, batch_size = len(group_by_slice(devices)), 4 * len(devices)
  held = sharding.batch_sharding(mesh).devices_indices_map((batch_size,))
  for number, members in enumerate(group_by_slice(devices)):
    rows = np.unique(np.concatenate([np.arange(batch_size)[held[device]] for device in members]))
    each = batch_size // slices
    np.testing.assert_array_equal(rows, np.arange(number * each, (number + 1) * each))


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 1, 1), (-1, 8, 1)], ids=str)
def test_each_row_is_held_by_one_process(devices, sizes):
  held = rows_of_processes(make_mesh(*sizes, devices=devices), 2 * len(devices))
  np.testing.assert_array_equal(np.sort(np.concatenate([*held.values()])), np.arange(2 * len(devices)))
  assert len({len(rows) for rows in held.values()}) == 1


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 8, 1), (-1, 1, 8), (-1, 2, 4)], ids=str)
def test_fsdp_and_model_stay_inside_a_slice(devices, sizes):
  for group in make_mesh(*sizes, devices=devices).devices:  # a group exchanges along fsdp and model
    assert len({device.slice_index for device in group.flat}) == 1


@every_cluster
def test_fsdp_crosses_slices_where_configured(devices):
  mesh = make_mesh(1, -1, 1, dcn_axis="fsdp", devices=devices)
  assert dict(mesh.shape) == {"data": 1, "fsdp": len(devices), "model": 1}
  slices = [device.slice_index for device in mesh.devices.flat]
  assert slices == sorted(slices)
  two = make_mesh(2, -1, 1, dcn_axis="fsdp", devices=devices)
  for group in two.devices:
    assert len({device.slice_index for device in group.flat}) == len(group_by_slice(devices))


@pytest.mark.parametrize("sizes", [(16, 1, 1), (2, 8, 1), (4, 4, 1), (4, 2, 2)], ids=str)
def test_a_slice_has_the_order_that_jax_picks_for_it_alone(sizes):
  data, *rest = sizes
  alone = jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=v5e_16(1))
  both = make_mesh(2 * data, *rest, devices=v5e_16(2))
  np.testing.assert_array_equal(ids(both), np.concatenate([ids(alone), ids(alone) + 16]))


@pytest.mark.parametrize("dcn_axis", ["data", "fsdp"])
def test_the_mesh_is_that_of_mesh_utils(dcn_axis):
  devices = gpus([8, 8, 8, 8], per_process=1)
  outer = {"data": (4, 1, 1), "fsdp": (1, 4, 1)}[dcn_axis]
  sizes = np.multiply((2, 2, 2), outer)
  expected = mesh_utils.create_hybrid_device_mesh((2, 2, 2), outer, devices)
  assert (make_mesh(*sizes, dcn_axis=dcn_axis, devices=devices).devices == expected).all()


def test_a_process_holds_the_rows_of_its_four_chips_in_each_slice():
  held = rows_of_processes(make_mesh(-1, 1, 1, devices=v5e_16(2)), 32)
  assert held[0].tolist() == [0, 1, 6, 15]
  assert held[4].tolist() == [16, 17, 22, 31]


@pytest.mark.parametrize("devices", [cpus(8), gpus([8]), v5e_16(1)], ids=["cpu", "gpu", "tpu"])
def test_a_single_slice_has_the_mesh_of_jax(devices):
  sizes = (len(devices) // 4, 2, 2)
  expected = jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)
  assert make_mesh(-1, 2, 2, devices=devices) == expected
  assert make_mesh(-1, 2, 2, dcn_axis="fsdp", devices=devices) == expected


def test_cpu_devices_split_into_slices_have_a_hybrid_mesh():
  assert ids(make_mesh(2, 4, 1, dcn_axis="fsdp", num_slices=2, devices=cpus(8)))[..., 0].tolist() == [
    [0, 1, 4, 5],
    [2, 3, 6, 7],
  ]
  assert ids(make_mesh(2, 4, 1, num_slices=2, devices=cpus(8))).ravel().tolist() == list(range(8))


@pytest.mark.parametrize(
  ("options", "devices", "message"),
  [
    ({}, gpus([8, 4]), "the slices (TPU slices or GPU nodes) have 8, 4 devices; a mesh needs equally many in each"),
    ({}, gpus([8, 4], per_process=1), "have 8, 4 devices"),
    ({"data": 1, "fsdp": -1}, gpus([8, 8]), "mesh.data is 1, but it crosses 2 slices (TPU slices or GPU nodes)"),
    ({"data": 1, "fsdp": -1}, gpus([8, 8]), "or set --config.mesh.dcn_axis=fsdp"),
    ({"data": 8, "fsdp": 2, "dcn_axis": "fsdp"}, gpus([4] * 4), "mesh.fsdp is 2, but it crosses 4 slices"),
    ({"dcn_axis": "model"}, gpus([8, 8]), "mesh.dcn_axis is 'model'; it must be one of data, fsdp"),
    ({"num_slices": 3}, cpus(8), "mesh.num_slices is 3, which does not divide the 8 devices"),
    ({"num_slices": -2}, cpus(8), "mesh.num_slices is -2, which"),
    ({"num_slices": 2}, gpus([8]), "mesh.num_slices=2 splits CPU devices only; gpu devices report their slices"),
    ({"data": 3}, gpus([8, 8]), "mesh is data=3, fsdp=1, model=1, which does not divide the 16 devices"),
  ],
)
def test_a_mesh_that_cannot_be_is_one_line(options, devices, message):
  with pytest.raises(ValueError) as error:
    make_mesh(**{"data": -1, "fsdp": 1, "model": 1, **options}, devices=devices)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_processes_with_different_numbers_of_devices_are_named():
  distributed.check_device_counts(gpus([8, 8]))
  with pytest.raises(ValueError, match="different numbers of devices: 8 in process 0, 4 in process 1; start each with"):
    distributed.check_device_counts(gpus([8, 4]))
