"""What a program costs: cycles, bytes sent, products."""

import pytest

from tests.plan.hlo_test import read
from tireid_jax.plan import costs, hlo


def test_cycles_are_summed_by_place_and_the_insides_of_fusions_cost_nothing_more():
  found = costs.operations(read("nested_loops_v5e.txt"))
  # In the inner loop's 15 rounds: its slice, its product with tanh (one fusion) and a copy; outside: the other product.
  assert [(o.source, o.runs, o.cycles) for o in found] == [
    ("dynamic_index_in_dim/dynamic_slice", 15, 15 * 2027),
    ("dot_general", 16, 15 * 384 + 2845),
    ("convert.3", 1, 3208),
    ("fusion.5", 1, 2397),
    ("copy.6", 15, 15 * 24),
  ]


def test_what_the_compiler_writes_inside_of_a_fusion_is_in_the_fusion_s_own_cycles():
  assert [(o.source, o.cycles) for o in costs.operations(read("exchanges.txt"))] == [("async-collective-start", 100)]


def test_a_gather_in_a_loop_sends_in_every_round():
  found = costs.collectives(read("nested_loops_v5e.txt"))
  weights = 256 * 256 * 2
  assert [(c.kind, c.num_bytes, c.group_size, c.runs) for c in found] == [
    ("all-gather", weights, 4, 15),
    ("all-gather", 512 * 256 * 2, 4, 1),
    ("all-reduce", 256 * 4, 4, 1),
  ]
  assert found[0].sent_bytes == 15 * weights * 3 / 4


def test_every_kind_of_exchange_counts_once_with_its_bytes_and_its_group():
  found = {(c.kind, c.num_bytes, c.group_size, c.runs): c for c in costs.collectives(read("exchanges.txt"))}
  matrix, row = 64 * 64 * 4, 32 * 2
  assert set(found) == {
    # Started by one kernel, carried on beside the work of another, and of a third that is in a loop.
    ("all-gather", matrix, 4, 1),
    # An all-reduce of which each device keeps a part; and one that is called by its name.
    ("reduce-scatter", matrix, 4, 1),
    # In a loop from 1 below 10 by steps of 2.
    ("all-reduce", row, 2, 5),
    ("collective-permute", row, 8, 1),
    ("all-to-all", matrix, 8, 1),
  }
  assert len(costs.collectives(read("exchanges.txt"))) == 6
  sent = {c.kind: c.sent_bytes for c in found.values()}
  assert sent == {
    "all-gather": matrix * 3 / 4,
    "reduce-scatter": matrix * 3 / 4,
    "all-reduce": 5 * 2 * row / 2,
    "collective-permute": row,
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
def test_groups_of_devices_are_read_in_every_spelling(groups, size):
  assert [c.group_size for c in costs.collectives(exchange(groups))] == [size]


def test_a_spelling_of_groups_that_is_not_known_is_rejected():
  with pytest.raises(ValueError, match="replica groups of unknown form"):
    costs.collectives(exchange("other"))


def exchange(groups):
  return hlo.Module(
    "HloModule one, num_partitions=8\n\nENTRY %main (p: f32[8]) -> f32[8] {\n  %p = f32[8]{0} parameter(0)\n"
    f"  ROOT %r = f32[8]{{0}} all-reduce(%p), channel_id=1, replica_groups={groups}, to_apply=%add\n}}\n"
  )


def test_exchanges_between_slices_are_counted_apart_from_those_within():
  found = costs.collectives(read("two_slices_v5e.txt"))
  # Three weights, each divided over eight devices, four of each of two slices. Each device sends its part to the other
  # slice, in the forward and the backward pass, and they gather the halves, in bfloat16, within the slice.
  weight, slices = 256 * 256 * 4, 2
  gathers = [c for c in found if c.network == "dcn" and c.kind == "all-gather"]
  assert sum(c.sent_bytes for c in gathers) == 2 * 3 * weight / 8
  # The gradient is summed within the slice, of which each device then has a quarter, and that over the slices.
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
def test_slices_that_exchange_are_counted_in_every_spelling(kind, target, slices):
  (found,) = costs.collectives(send(kind, target))
  assert (found.kind, found.group_size, found.num_bytes) == (kind.lower().replace("_", "-"), slices, 32)
  assert found.source == "gradient"


def test_an_exchange_between_slices_that_is_not_known_is_rejected():
  with pytest.raises(ValueError, match="collective between slices of unknown form: all-gather"):
    costs.collectives(send("ALL_GATHER", "{{100000,200000}}"))


def test_a_send_to_the_host_is_no_exchange():
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


def test_those_that_send_most_come_first():
  sent = [c.sent_bytes for c in costs.collectives(read("exchanges.txt"))]
  assert sent == sorted(sent, reverse=True)


def test_products_of_all_devices_are_counted_in_every_round():
  assert costs.matrix_flops(read("nested_loops_traced.txt")) == 15 * (2 * 512 * 256 * 256) + 2 * 512 * 256 * 512
