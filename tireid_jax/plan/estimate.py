"""A plan: the memory that a compiled step needs on a device, its communication, and the compiler's estimate of time."""

from tireid_jax.errors import UserError
from tireid_jax.plan import chips, costs, hlo
from tireid_jax.plan.step import compile_step

NUM_OPERATIONS = 10


def make_plan(config, number, topology, *, num_slices=1, dcn_gbps=0, caption_length=0):
  """Returns the plan of a stage's training step on slices of a topology, as JSON data.

  Bytes and seconds are per device and step. "estimate" follows from the compiler's model of the chip; nothing is
  executed. It is None on CPUs, for which there is no such model, and where the step does not fit. The model leaves
  out communication, as if all of it overlapped with compute; "link_seconds" and "dcn_seconds" are lower bounds of the
  time for communication alone, within a slice and between slices.

  Args:
    config: config of the run.
    number: stage number.
    topology: of one slice, such as "v5e:4x4" or "cpu:8".
    num_slices: number of such slices, joined by the data-center network.
    dcn_gbps: Gbit/s that each chip can send to other slices; 0 for the published bandwidth of the chip.
    caption_length: number of tokens that the captions are padded to; 0 for the longest of the config.
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
    # The new state reuses the buffers of the old one.
    "results": stats.output_size_in_bytes - stats.alias_size_in_bytes,
    "temporaries": stats.temp_size_in_bytes,
    "program": stats.generated_code_size_in_bytes,
  }
  total = sum(parts.values())
  return {"fits": total <= capacity if chip else None, **parts, "total": total, "capacity": capacity}


def sent_bytes(plan, network):
  """Returns the bytes that each device sends per step over a network, costs.ICI or costs.DCN."""
  return sum(exchange["sent_bytes"] for exchange in plan["collectives"] if exchange["network"] == network)


def _estimate(module, chip, plan, dcn_bytes):
  found = costs.operations(module)
  cycles = sum(operation.cycles for operation in found)
  seconds = cycles / chip.clock_hz
  link_seconds = sent_bytes(plan, costs.ICI) / chip.link_bytes
  between = sent_bytes(plan, costs.DCN)
  if between and not dcn_bytes:
    raise UserError(
      f"no data-center bandwidth is published for {plan['topology']}; give it as --dcn_gbps=N (Gbit/s per chip)"
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
