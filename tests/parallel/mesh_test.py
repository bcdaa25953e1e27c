"""How the devices of several TPU slices or GPU nodes are arranged in a mesh."""

import jax
import numpy as np
import pytest
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from tests.standin_devices import Device, gpus, v5e_16
from tireid_jax.parallel import distributed, sharding
from tireid_jax.parallel.mesh import AXES, group_by_slice, make_mesh

CLUSTERS = {
  "2 nodes of 8 GPUs, one process per node": gpus([8, 8]),
  "2 nodes of 8 GPUs, one process per GPU": gpus([8, 8], per_process=1),
  "4 nodes of 8 GPUs, one process per node": gpus([8] * 4),
  "4 nodes of 8 GPUs, one process per GPU": gpus([8] * 4, per_process=1),
  "2 slices of v5e-16": v5e_16(2),
  "4 slices of v5e-16": v5e_16(4),
}
every_cluster = pytest.mark.parametrize("devices", CLUSTERS.values(), ids=CLUSTERS)


def cpus(number):
  return [Device(id, 0, "cpu", "cpu") for id in range(number)]


def ids(mesh):
  return np.vectorize(lambda device: device.id)(mesh.devices)


def batch_indices_by_process(mesh, batch_size):
  """Returns {process: indices of its examples in the batch}."""
  processes = sorted({device.process_index for device in mesh.devices.flat})
  return {process: sharding.process_batch_indices(mesh, batch_size, process=process) for process in processes}


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 1, 1), (-1, 8, 1), (-1, 2, 2)], ids=str)
def test_each_slice_holds_a_contiguous_part_of_the_batch(devices, sizes):
  mesh = make_mesh(*sizes, devices=devices)
  slices, batch_size = len(group_by_slice(devices)), 4 * len(devices)
  indices = sharding.batch_sharding(mesh).devices_indices_map((batch_size,))
  for number, members in enumerate(group_by_slice(devices)):
    examples = np.unique(np.concatenate([np.arange(batch_size)[indices[device]] for device in members]))
    per_slice = batch_size // slices
    np.testing.assert_array_equal(examples, np.arange(number * per_slice, (number + 1) * per_slice))


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 1, 1), (-1, 8, 1)], ids=str)
def test_each_example_is_loaded_by_one_process(devices, sizes):
  indices = batch_indices_by_process(make_mesh(*sizes, devices=devices), 2 * len(devices))
  np.testing.assert_array_equal(np.sort(np.concatenate([*indices.values()])), np.arange(2 * len(devices)))
  assert len({len(examples) for examples in indices.values()}) == 1


@every_cluster
@pytest.mark.parametrize("sizes", [(-1, 8, 1), (-1, 1, 8), (-1, 2, 4)], ids=str)
def test_fsdp_and_model_stay_inside_a_slice(devices, sizes):
  for group in make_mesh(*sizes, devices=devices).devices:  # collectives over fsdp and model stay within a group
    assert len({device.slice_index for device in group.flat}) == 1


@every_cluster
def test_fsdp_crosses_slices_if_configured(devices):
  mesh = make_mesh(1, -1, 1, dcn_axis="fsdp", devices=devices)
  assert dict(mesh.shape) == {"data": 1, "fsdp": len(devices), "model": 1}
  slices = [device.slice_index for device in mesh.devices.flat]
  assert slices == sorted(slices)
  two = make_mesh(2, -1, 1, dcn_axis="fsdp", devices=devices)
  for group in two.devices:
    assert len({device.slice_index for device in group.flat}) == len(group_by_slice(devices))


@pytest.mark.parametrize("sizes", [(16, 1, 1), (2, 8, 1), (4, 4, 1), (4, 2, 2)], ids=str)
def test_devices_of_a_slice_have_the_order_that_jax_chooses_for_a_single_slice(sizes):
  data, *rest = sizes
  single = jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=v5e_16(1))
  both = make_mesh(2 * data, *rest, devices=v5e_16(2))
  np.testing.assert_array_equal(ids(both), np.concatenate([ids(single), ids(single) + 16]))


@pytest.mark.parametrize("dcn_axis", ["data", "fsdp"])
def test_the_mesh_equals_that_of_mesh_utils(dcn_axis):
  devices = gpus([8, 8, 8, 8], per_process=1)
  outer = {"data": (4, 1, 1), "fsdp": (1, 4, 1)}[dcn_axis]
  sizes = np.multiply((2, 2, 2), outer)
  expected = mesh_utils.create_hybrid_device_mesh((2, 2, 2), outer, devices)
  assert (make_mesh(*sizes, dcn_axis=dcn_axis, devices=devices).devices == expected).all()


def test_a_process_loads_the_examples_of_its_four_chips():
  indices = batch_indices_by_process(make_mesh(-1, 1, 1, devices=v5e_16(2)), 32)
  assert indices[0].tolist() == [0, 1, 6, 15]
  assert indices[4].tolist() == [16, 17, 22, 31]


@pytest.mark.parametrize("devices", [cpus(8), gpus([8]), v5e_16(1)], ids=["cpu", "gpu", "tpu"])
def test_the_mesh_of_a_single_slice_equals_that_of_jax(devices):
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
def test_an_impossible_mesh_raises_one_line(options, devices, message):
  with pytest.raises(ValueError) as error:
    make_mesh(**{"data": -1, "fsdp": 1, "model": 1, **options}, devices=devices)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_processes_with_different_numbers_of_devices_raise_an_error_that_names_them():
  distributed.check_device_counts(gpus([8, 8]))
  with pytest.raises(ValueError, match="different numbers of devices: 8 in process 0, 4 in process 1; start each with"):
    distributed.check_device_counts(gpus([8, 4]))
