"""The text of a plan."""

from tireid_jax.plan import chips, show


def plan(**changes):
  return {
    "topology": "v5e:2x2",
    "slices": 1,
    "chips": 4,
    "devices": 4,
    "mesh": {"data": 4, "fsdp": 1, "model": 1},
    "stage": 2,
    "model": "ViT-B/16",
    "image_size": [384, 128],
    "precision": "bfloat16",
    "scan_blocks": True,
    "remat": "none",
    "batch_size": 1024,
    "microbatch_size": 0,
    "images": 512,
    "caption_length": 64,
    "steps_per_epoch": 33,
    "compile_seconds": 20.0,
    "matrix_flops": 2.048e12,
    "matrix_flops_with_recomputation": 2.048e12,
    "memory": {"fits": False, "needed": 32 * chips.GIB, "capacity": 8 * chips.GIB},
    "rematerialized": [],
    "collectives": [],
    "estimate": None,
    **changes,
  }


def collective(kind, source, num_bytes, **changes):
  sizes = {"num_bytes": num_bytes, "sent_bytes": num_bytes, "group_size": 4, "runs": 1, "network": "ici"}
  return {"kind": kind, "source": source, **sizes, **changes}


ESTIMATE = {
  "cycles": 3e6,
  "seconds": 0.002,
  "peak_share": 0.5,
  "link_seconds": 0.001,
  "dcn_seconds": 0.0,
  "dcn_bytes_per_second": None,
  "examples_per_second": 512_000.0,
  "examples_per_second_sending_after": 341_333.3,
  "epochs_per_hour": 54.5,
  "unknown_loops": ["while.7"],
  "operations": [{"source": "blocks/fc/dot", "runs": 12, "cycles": 1.5e6}],
}


def test_a_step_that_does_not_fit_shows_the_memory_it_needs_and_no_time():
  text = show.describe(plan())
  assert "batch 1,024: 512 images, captions of 64 tokens; 33 steps per epoch" in text
  assert "v5e:2x2: 4 chip(s) (data 4, fsdp 1, model 1)" in text
  assert "does not fit: it needs 32.00 GiB per device, but a device has 8.00 GiB" in text
  assert "matrix products: 2.05 TFLOP per step, 2.00 GFLOP per example\nno estimate of time: it does not fit" in text


def test_an_unknown_amount_of_needed_memory_is_shown_as_more():
  memory = {"fits": False, "needed": None, "capacity": 8 * chips.GIB}
  assert "it needs more per device, but a device has 8.00 GiB" in show.describe(plan(memory=memory))


def test_the_microbatch_size_is_shown():
  assert "batch 1,024, 256 at a time: 512 images" in show.describe(plan(microbatch_size=256))


def test_a_tpu7x_chip_is_shown_as_two_devices():
  assert "4 chip(s) of 2 devices each" in show.describe(plan(topology="tpu7x:2x2x1", devices=8))


def test_collectives_are_summed_by_source_and_small_ones_in_one_line():
  collectives = [
    collective("all-gather", "blocks/fc", 2_000_000, runs=12),
    collective("all-gather", "blocks/fc", 2_000_000, runs=12),
    collective("all-reduce", "loss", 9_000_000),
    collective("all-reduce", "loss", 300),
    collective("all-to-all", "sub", 500_000),
    collective("all-reduce", "max", 500_000, group_size=2),
  ]
  lines = [line.split() for line in show.describe(plan(collectives=collectives)).splitlines()]
  assert ["all-reduce", "2", "9.00", "9.00", "4", "loss"] in lines
  assert ["all-gather", "24", "48.00", "4.00", "4", "blocks/fc"] in lines
  assert ["smaller", "ones", "2", "1.00", "1.00", "2", "sources"] in lines
  assert not any(line[:1] == ["all-to-all"] for line in lines)
  assert any(line[:3] == ["14.0", "MB", "sent"] for line in lines)


def test_bytes_sent_between_slices_are_shown_separately():
  estimate = {**ESTIMATE, "link_seconds": 0.0002, "dcn_seconds": 0.0016, "dcn_bytes_per_second": 3.125e9}
  collectives = [
    collective("all-reduce", "gradient", 5_000_000, group_size=2, network="dcn"),
    collective("all-gather", "gradient", 40_000_000),
  ]
  memory = {"fits": None, "arguments": 0, "results": 0, "temporaries": 0, "program": 0, "total": 0, "capacity": None}
  text = show.describe(plan(slices=2, chips=8, devices=8, collectives=collectives, estimate=estimate, memory=memory))
  assert "v5e:2x2, 2 slices: 8 chip(s)" in text
  assert ["all-reduce", "1", "5.00", "5.00", "2", "slices", "gradient"] in [line.split() for line in text.splitlines()]
  assert "40.0 MB sent by each device within its slice per step, at least 0.2 ms over its links of 200 GB/s" in text
  assert (
    "5.0 MB sent by each device to other slices per step, at least 1.6 ms over the data-center network at 3.12 GB/s"
  ) in text


def test_loops_of_unknown_length_are_named():
  memory = {
    "fits": True, "arguments": 2 * chips.GIB, "results": 0, "temporaries": chips.GIB, "program": chips.GIB,
    "total": 4 * chips.GIB, "capacity": 8 * chips.GIB,
  }  # fmt: skip
  text = show.describe(plan(estimate=ESTIMATE, memory=memory))
  assert "1 loop(s) of unknown trip count, counted as one iteration: while.7" in text
  assert "fits: 50% of 8.00 GiB" in text
  assert "2.0 ms per step (3.0 million cycles at 1.50 GHz), 50.0% of the bfloat16 peak" in text
  assert "512,000 examples/s, 54.5 epochs/hour; 341,333 examples/s if no communication overlapped with compute" in text
  assert ["blocks/fc/dot", "12", "1.50", "50.0%"] in [line.split() for line in text.splitlines()]
