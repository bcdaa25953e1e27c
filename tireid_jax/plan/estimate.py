"""The figures of a plan: what a compiled step takes of a device, and how long the compiler thinks that it runs."""

from tireid_jax.errors import UserError
from tireid_jax.plan import chips, costs, hlo
from tireid_jax.plan.step import compile_step

NUM_OPERATIONS = 10


def make_plan(config, number, topology, *, num_slices=1, dcn_gbps=0, caption_length=0):
  """Returns the plan of a stage's training step on slices of a topology, as JSON data.

  Bytes and seconds are of one device and one step. What follows from the compiler's model of the chip, which runs
  nothing, is in "estimate"; it is None where there is no such model, on CPUs, and where the step does not fit. The
  model leaves out what devices send each other, as if all of that happened beside the compute; "link_seconds" and
  "dcn_seconds" are what sending alone takes at least, within a slice and between slices.

  Args:
    config: of the run.
    number: of the stage.
    topology: as "v5e:4x4" or "cpu:8", of one slice.
    num_slices: how many of them the data-center network joins.
    dcn_gbps: Gbit/s that each chip can send to other slices; 0 for what is published of the chip.
    caption_length: tokens that the captions of the batch are padded to; 0 for the longest of the config.
  """
  chip = chips.find(topology)
  devices = chips.devices(topology, num_slices)
  step = compile_step(config, number, devices, caption_length=caption_length)
  flops = costs.matrix_flops(hlo.Module(step.plain))
  plan = {
    "topology": topology,
    "slices": num_slices,
    "chips": len(devices) // (chip.devices_per_chip if chip else 1),
    "devices": len(devices),
    "mesh": dict(step.mesh.shape),
    "stage": number,
    "model": config.model.variant,
    "image_size": list(step.model.image_size),
    "precision": step.model.execution.dtype.name,
    "scan_blocks": step.model.execution.scan_blocks,
    "remat": step.model.execution.remat,
    "batch_size": step.stage.batch_size,
    "microbatch_size": step.stage.microbatch_size,
    "images": step.batch["images"].shape[0],
    "caption_length": step.batch["tokens"].shape[1],
    "steps_per_epoch": step.steps_per_epoch,
    "compile_seconds": round(step.seconds, 1),
    "matrix_flops": flops,
    "matrix_flops_with_recomputation": costs.matrix_flops(hlo.Module(step.traced)),
    "memory": _memory(step, chip),
    "rematerialized": step.rematerialized,
    "collectives": [],
    "estimate": None,
  }
  if step.compiled is not None:
    module = hlo.Module(step.compiled.as_text())
    exchanges = costs.collectives(module)
    plan["collectives"] = [{**vars(exchange), "sent_bytes": exchange.sent_bytes} for exchange in exchanges]
    if chip:
      dcn_bytes = dcn_gbps * 1e9 / 8 / chip.devices_per_chip or chip.dcn_bytes
      plan["estimate"] = _estimate(module, chip, plan, dcn_bytes)
  return plan


def _memory(step, chip):
  capacity = int(chip.hbm_bytes) if chip else None
  if step.compiled is None:
    return {"fits": False, "needed": step.needed_bytes, "capacity": capacity}
  stats = step.compiled.memory_analysis()
  parts = {
    "arguments": stats.argument_size_in_bytes,
    # The new state takes the place of the old one.
    "results": stats.output_size_in_bytes - stats.alias_size_in_bytes,
    "temporaries": stats.temp_size_in_bytes,
    "program": stats.generated_code_size_in_bytes,
  }
  total = sum(parts.values())
  return {"fits": total <= capacity if chip else None, **parts, "total": total, "capacity": capacity}


def sent_bytes(plan, network):
  """Returns the bytes that each device sends over a network, costs.ICI or costs.DCN, in a step of a plan."""
  return sum(exchange["sent_bytes"] for exchange in plan["collectives"] if exchange["network"] == network)


def _estimate(module, chip, plan, dcn_bytes):
  found = costs.operations(module)
  cycles = sum(operation.cycles for operation in found)
  seconds = cycles / chip.clock_hz
  link_seconds = sent_bytes(plan, costs.ICI) / chip.link_bytes
  between = sent_bytes(plan, costs.DCN)
  if between and not dcn_bytes:
    raise UserError(
      f"no data-center bandwidth is published for {plan['topology']}; state it by --dcn_gbps=N (Gbit/s per chip)"
    )
  dcn_seconds = between / dcn_bytes if between else 0.0
  return {
    "cycles": cycles,
    "seconds": seconds,
    "peak_share": plan["matrix_flops"] / (seconds * chip.peak_flops * plan["devices"]),
    "link_seconds": link_seconds,
    "dcn_seconds": dcn_seconds,
    "dcn_bytes_per_second": dcn_bytes if between else None,
    "examples_per_second": plan["batch_size"] / seconds,
    "examples_per_second_sending_after": plan["batch_size"] / (seconds + link_seconds + dcn_seconds),
    "epochs_per_hour": 3600 / (seconds * plan["steps_per_epoch"]),
    "operations": [vars(operation) for operation in found[:NUM_OPERATIONS]],
    "unknown_loops": module.unknown_loops(),
  }
