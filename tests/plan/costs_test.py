"""Costs of a program: cycles, bytes sent by collectives, FLOPs of matrix products."""

import pytest

from tests.plan.hlo_test import read
from tireid_jax.plan import costs, hlo


def test_cycles_are_summed_by_source_and_fusions_are_not_counted_twice():
  found = costs.operations(read("nested_loops_v5e.txt"))
  # In the 15 iterations of the inner loop: a slice, a product fused with tanh, and a copy; outside: the other product.
  assert [(o.source, o.runs, o.cycles) for o in found] == [
    ("dynamic_index_in_dim/dynamic_slice", 15, 15 * 2027),
    ("dot_general", 16, 15 * 384 + 2845),
    ("convert.3", 1, 3208),
    ("fusion.5", 1, 2397),
    ("copy.6", 15, 15 * 24),
  ]


def test_cycles_of_instructions_inside_a_fusion_are_part_of_the_fusions_cycles():
  assert [(o.source, o.cycles) for o in costs.operations(read("exchanges.txt"))] == [("async-collective-start", 100)]


def test_an_all_gather_in_a_loop_sends_in_every_iteration():
  found = costs.collectives(read("nested_loops_v5e.txt"))
  weights = 256 * 256 * 2
  assert [(c.kind, c.num_bytes, c.group_size, c.runs) for c in found] == [
    ("all-gather", weights, 4, 15),
    ("all-gather", 512 * 256 * 2, 4, 1),
    ("all-reduce", 256 * 4, 4, 1),
  ]
  assert found[0].sent_bytes == 15 * weights * 3 / 4


def test_each_kind_of_collective_is_counted_once_with_its_bytes_and_group_size():
  found = {(c.kind, c.num_bytes, c.group_size, c.runs): c for c in costs.collectives(read("exchanges.txt"))}
  matrix, vector = 64 * 64 * 4, 32 * 2
  assert set(found) == {
    # Asynchronous: started by one kernel, and overlapped with another and with a third in a loop.
    ("all-gather", matrix, 4, 1),
    # One written as an all-reduce of which each device keeps a shard, and one written as reduce-scatter.
    ("reduce-scatter", matrix, 4, 1),
    # In a loop from 1 to below 10 in steps of 2.
    ("all-reduce", vector, 2, 5),
    ("collective-permute", vector, 8, 1),
    ("all-to-all", matrix, 8, 1),
  }
  assert len(costs.collectives(read("exchanges.txt"))) == 6
  sent = {c.kind: c.sent_bytes for c in found.values()}
  assert sent == {
    "all-gather": matrix * 3 / 4,
    "reduce-scatter": matrix * 3 / 4,
    "all-reduce": 5 * 2 * vector / 2,
    "collective-permute": vector,
    "all-to-all": matrix * 7 / 8,
  }


@pytest.mark.parametrize(
  ("groups", "size"),
  [
    ("[4,2]<=[8]", 2),
    ("mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", 4),
    ("mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], device_ids=([2,4]T(1,0)) {'axis_0'}", 4),
    ("mesh['axis_0'=8] {'axis_0':(1)2}", 2),
    ("{{0,1,2,3},{4,5,6,7}}", 4),
    ("{}", 8),
  ],
)
def test_replica_groups_are_parsed_in_every_notation(groups, size):
  assert [c.group_size for c in costs.collectives(all_reduce(groups))] == [size]


def test_an_unknown_notation_of_replica_groups_raises():
  with pytest.raises(ValueError, match="replica groups of unknown form"):
    costs.collectives(all_reduce("other"))


def all_reduce(groups):
  return hlo.Module(
    "HloModule one, num_partitions=8\n\nENTRY %main (p: f32[8]) -> f32[8] {\n  %p = f32[8]{0} parameter(0)\n"
    f"  ROOT %r = f32[8]{{0}} all-reduce(%p), channel_id=1, replica_groups={groups}, to_apply=%add\n}}\n"
  )


def test_collectives_between_slices_are_counted_separately_from_those_within_a_slice():
  found = costs.collectives(read("two_slices_v5e.txt"))
  # Three weights, each sharded over eight devices, four in each of two slices. In the forward and the backward pass,
  # each device sends its shard to the other slice, and the halves are gathered in bfloat16 within the slice.
  weight, slices = 256 * 256 * 4, 2
  gathers = [c for c in found if c.network == "dcn" and c.kind == "all-gather"]
  assert sum(c.sent_bytes for c in gathers) == 2 * 3 * weight / 8
  # The gradient is summed within the slice, after which each device has a quarter of it, and then over the slices.
  sums = [c for c in found if c.network == "dcn" and c.kind == "all-reduce"]
  assert sum(c.sent_bytes for c in sums) == 3 * weight / 4 * 2 * (slices - 1) / slices
  assert all(c.group_size == slices for c in gathers + sums)
  assert {(c.kind, c.num_bytes, c.group_size, c.runs) for c in found if c.network == "ici"} == {
    ("all-gather", weight // 2, 4, 3),
    ("reduce-scatter", weight, 4, 3),
    ("all-gather", weight, 4, 3),
  }


@pytest.mark.parametrize(
  ("kind", "target", "slices"),
  [
    ("ALL_REDUCE", '"{1,2}x{0:3}"', 2),
    ("ALL_REDUCE", '"{1:4}x{0:15}"', 4),
    ("ALL_TO_ALL", "{{100000,100001,200000,200001,300000,300001}}", 3),
  ],
)
def test_collectives_between_slices_are_parsed_in_every_notation(kind, target, slices):
  (found,) = costs.collectives(send(kind, target))
  assert (found.kind, found.group_size, found.num_bytes) == (kind.lower().replace("_", "-"), slices, 32)
  assert found.source == "gradient"


def test_an_unknown_collective_between_slices_raises():
  with pytest.raises(ValueError, match="collective between slices of unknown form: all-gather"):
    costs.collectives(send("ALL_GATHER", "{{100000,200000}}"))


def test_a_send_to_the_host_is_not_counted_as_a_collective():
  assert costs.collectives(send("ALL_REDUCE", '"{1,2}x{0:3}"', handler="host")) == []


def send(kind, target, handler="xla_megascale_runtime"):
  attributes = (
    f'_xla_host_transfer_handler_name="{handler}",_xla_host_transfer_rendezvous="all_0",'
    f'_xla_megascale_target={target},_xla_megascale_transfer_type="{kind}"'
  )
  return hlo.Module(
    "HloModule one, num_partitions=8\n\nENTRY %main (p: f32[8]) -> token[] {\n  %p = f32[8]{0} parameter(0)\n"
    '  %g = f32[8]{0} negate(%p), metadata={op_name="gradient"}\n  %b = f32[8]{0} bitcast(%g)\n'
    f"  %t = token[] after-all()\n"
    f"  %s = (f32[8]{{0}}, u32[], token[]) send(%b, %t), channel_id=1, frontend_attributes={{{attributes}}}\n"
    "  ROOT %d = token[] send-done(%s), channel_id=1\n}\n"
  )


def test_collectives_are_sorted_by_the_bytes_they_send():
  sent = [c.sent_bytes for c in costs.collectives(read("exchanges.txt"))]
  assert sent == sorted(sent, reverse=True)


def test_matrix_products_in_a_loop_are_counted_in_every_iteration():
  assert costs.matrix_flops(read("nested_loops_traced.txt")) == 15 * (2 * 512 * 256 * 256) + 2 * 512 * 256 * 512
