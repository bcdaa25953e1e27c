"""Formats a plan as text."""

import collections
import itertools
from typing import Any

import jax

from tireid_jax.plan import chips, costs
from tireid_jax.plan.estimate import sent_bytes
from tireid_jax.terminal.table import format_table

# Sources whose collectives send fewer bytes per step are summed in one table row.
SMALL_BYTES = 1e6


def describe(plan: dict[str, Any]) -> str:
  """Returns a plan of `make_plan` as lines of text."""
  parts = [_head(plan), _memory(plan), _compute(plan)]
  if plan["collectives"]:
    parts.append(_communication(plan))
  if plan["estimate"]:
    parts.append(_operations(plan["estimate"]))
  return "\n\n".join(parts)


def _chip(plan):
  """Returns the Chip that a plan is for, or None for CPUs."""
  return chips.CHIPS.get(plan["topology"].partition(":")[0])


def _head(plan):
  mesh = ", ".join(f"{axis} {size}" for axis, size in plan["mesh"].items())
  blocks = "as a loop" if plan["scan_blocks"] else "unrolled"
  height, width = plan["image_size"]
  kind = "chip" if _chip(plan) else "device"
  split = f" of {plan['devices'] // plan['chips']} devices each" if plan["devices"] != plan["chips"] else ""
  slices = f", {plan['slices']} slices" if plan["slices"] > 1 else ""
  chunks = f", {plan['microbatch_size']:,} at a time" if plan["microbatch_size"] else ""
  return (
    f"stage {plan['stage']}, {plan['model']} at {height}x{width} in {plan['precision']}, blocks {blocks}, "
    f"rematerialisation {plan['remat']}\n"
    f"batch {plan['batch_size']:,}{chunks}: {plan['images']:,} images, captions of {plan['caption_length']} tokens; "
    f"{plan['steps_per_epoch']:,} steps per epoch\n"
    f"{plan['topology']}{slices}: {plan['chips']} {kind}(s){split} ({mesh}), compiled in "
    f"{plan['compile_seconds']:.0f} s by jax {jax.__version__}"
  )


def _memory(plan):
  memory = plan["memory"]
  if memory["fits"] is False:
    needed = f"{memory['needed'] / chips.GIB:.2f} GiB" if memory["needed"] else "more"
    return f"does not fit: it needs {needed} per device, but a device has {memory['capacity'] / chips.GIB:.2f} GiB"
  rows = [
    {"memory per device": name, "GiB": memory[key] / chips.GIB}
    for name, key in (
      ("arguments: state and batch", "arguments"),
      ("results other than the state", "results"),
      ("temporaries", "temporaries"),
      ("program", "program"),
      ("total", "total"),
    )
  ]
  verdict = "the capacity of a CPU device is not known"
  if memory["capacity"]:
    verdict = f"fits: {memory['total'] / memory['capacity']:.0%} of {memory['capacity'] / chips.GIB:.2f} GiB"
  copies = len(plan["rematerialized"])
  return (
    f"{format_table(rows)}\n{verdict}\narrays that the partitioner replicated on each device to reshard them: {copies}"
  )


def _compute(plan):
  flops, again = plan["matrix_flops"], plan["matrix_flops_with_recomputation"]
  extra = f", and {again / flops - 1:.0%} more for recomputation to save memory" if again != flops else ""
  each = flops / plan["batch_size"]
  text = f"matrix products: {flops / 1e12:,.2f} TFLOP per step, {each / 1e9:,.2f} GFLOP per example{extra}"
  estimate = plan["estimate"]
  if estimate is None:
    reason = "it does not fit" if plan["memory"]["fits"] is False else "the compiler has no model of a CPU"
    return f"{text}\nno estimate of time: {reason}"
  chip = _chip(plan)
  unknown = estimate["unknown_loops"]
  warning = (
    f"\n{len(unknown)} loop(s) of unknown trip count, counted as one iteration: {', '.join(unknown)}" if unknown else ""
  )
  return (
    f"{text}\n"
    f"compiler's estimate, without communication: {estimate['seconds'] * 1e3:,.1f} ms per step "
    f"({estimate['cycles'] / 1e6:,.1f} million cycles at {chip.clock_hz / 1e9:.2f} GHz), "
    f"{estimate['peak_share']:.1%} of the bfloat16 peak\n"
    f"estimate: {estimate['examples_per_second']:,.0f} examples/s, {estimate['epochs_per_hour']:,.1f} epochs/hour; "
    f"{estimate['examples_per_second_sending_after']:,.0f} examples/s if no communication overlapped with compute"
    f"{warning}"
  )


def _communication(plan):
  by_source = collections.defaultdict(list)
  for exchange in plan["collectives"]:
    group = f"{exchange['group_size']} slices" if exchange["network"] == costs.DCN else str(exchange["group_size"])
    by_source[exchange["kind"], group, exchange["source"]].append(exchange)
  by_bytes = sorted(by_source.items(), key=lambda item: -_sent(item[1]))
  small = [exchanges for _, exchanges in by_bytes if _sent(exchanges) < SMALL_BYTES]
  rows = [_row(*key, exchanges) for key, exchanges in by_bytes if _sent(exchanges) >= SMALL_BYTES]
  if small:
    rows.append(_row("smaller ones", "", f"{len(small)} sources", list(itertools.chain(*small))))
  return "\n".join([format_table(rows), *_sums(plan)])


def _sums(plan):
  """Returns a line for each network: what a device sends over it per step, and the minimum time that this takes."""
  estimate, within, between = plan["estimate"], sent_bytes(plan, costs.ICI), sent_bytes(plan, costs.DCN)
  where = " within its slice" if plan["slices"] > 1 else ""
  lines = [f"{within / 1e6:,.1f} MB sent by each device{where} per step"]
  if estimate:
    link = _chip(plan).link_bytes
    lines[0] += f", at least {estimate['link_seconds'] * 1e3:,.1f} ms over its links of {link / 1e9:.0f} GB/s"
  if plan["slices"] > 1:
    lines.append(f"{between / 1e6:,.1f} MB sent by each device to other slices per step")
  if estimate and between:
    lines[1] += (
      f", at least {estimate['dcn_seconds'] * 1e3:,.1f} ms over the data-center network at "
      f"{estimate['dcn_bytes_per_second'] / 1e9:.3g} GB/s per device"
    )
  return lines


def _sent(exchanges):
  return sum(exchange["sent_bytes"] for exchange in exchanges)


def _row(kind, group, source, exchanges):
  return {
    "collective": kind,
    "per step": sum(exchange["runs"] for exchange in exchanges),
    "MB": sum(exchange["num_bytes"] * exchange["runs"] for exchange in exchanges) / 1e6,
    "MB sent": _sent(exchanges) / 1e6,
    "devices": group,
    "source": source,
  }


def _operations(estimate):
  rows = [
    {
      "most expensive operations": operation["source"],
      "kernels": operation["runs"],
      "million cycles": operation["cycles"] / 1e6,
      "fraction": f"{operation['cycles'] / estimate['cycles']:.1%}",
    }
    for operation in estimate["operations"]
  ]
  return format_table(rows)
