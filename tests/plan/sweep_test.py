"""The search for the largest batch, and the table of a sweep."""

import pytest

from tireid_jax.plan import chips, sweep


def plan(topology="v5e:2x2", batch_size=64, num_chips=4, seconds=0.5, link_seconds=0.5):
  """Returns the fields of a plan that a sweep reads."""
  return {
    "topology": topology,
    "chips": num_chips,
    "devices": num_chips,
    "batch_size": batch_size,
    "memory": {"fits": True, "total": 2 * chips.GIB, "capacity": 8 * chips.GIB},
    "estimate": {
      "seconds": seconds,
      "link_seconds": link_seconds,
      "dcn_seconds": 0.0,
      "peak_share": 0.25,
      "examples_per_second": batch_size / seconds,
      "examples_per_second_sending_after": batch_size / (seconds + link_seconds),
      "epochs_per_hour": 3.0,
    },
  }


@pytest.mark.parametrize(
  ("room", "first", "found", "tried"),
  [
    (100, 8, 64, [8, 16, 32, 64, 128]),  # grows until it does not fit
    (100, 512, 64, [512, 256, 128, 64]),  # shrinks until it fits
    (100, 70, 64, [64, 128]),  # starts at the next smaller size
    (100, 3, 64, [8, 16, 32, 64, 128]),  # starts at the smallest size
    (10**6, 256, 512, [256, 512]),  # at most an epoch
    (10**6, 4096, 512, [512]),
    (7, 32, None, [32, 16, 8]),  # nothing fits
  ],
)
def test_the_search_for_the_largest_batch_starts_at_the_given_size(room, first, found, tried):
  sizes = []

  def plan_of(size):
    sizes.append(size)
    return {"batch_size": size, "memory": {"fits": size <= room}}

  best = sweep.largest_batch(plan_of, least=8, most=1000, first=first)
  assert (best and best["batch_size"]) == found
  assert sizes == tried


def test_no_batch_is_tried_if_the_data_set_has_fewer_captions_than_devices():
  assert sweep.largest_batch(pytest.fail, least=8, most=7, first=8) is None


def test_a_chip_name_expands_to_all_of_its_slices(monkeypatch):
  monkeypatch.setattr(chips.importlib.util, "find_spec", lambda name: "installed")
  assert sweep.topologies_of(["v5e"])[:3] == ["v5e:1x1", "v5e:2x2", "v5e:2x4"]
  assert sweep.topologies_of(["v5p:2x2x1", "v5e:4x4"]) == ["v5p:2x2x1", "v5e:4x4"]
  with pytest.raises(ValueError, match="--sweep is over TPUs, not cpu:8"):
    sweep.topologies_of(["cpu:8"])


def test_the_table_has_a_row_for_each_topology_and_lists_those_that_no_batch_fits():
  text = sweep.format_sweep({"v5e:1x1": None, "v5e:2x2": plan()})
  head, row, last = text.splitlines()
  assert dict(zip(head.split()[:4], row.split()[:4], strict=True)) == {
    "topology": "v5e:2x2", "chips": "4", "batch": "64", "per": "16",
  }  # fmt: skip
  assert {"25%", "500.00", "25.0%", "128", "64", "3.00"} <= set(row.split())
  assert last == "not even the smallest batch fits v5e:1x1"


def test_the_plot_omits_topologies_that_no_batch_fits():
  assert sweep.scaling_points({"v5e:1x1": None, "v5e:2x2": plan()}) == [(4, 128.0, 64.0)]
