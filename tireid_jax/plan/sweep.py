"""Finds the largest batch that fits each of several topologies, and its estimated speed there."""

import bisect
import copy
from collections.abc import Iterable

from tireid_jax.errors import UserError
from tireid_jax.plan import chips, step
from tireid_jax.plan.estimate import make_plan
from tireid_jax.terminal.table import format_table


def topologies_of(names: Iterable[str]) -> list[str]:
  """Expands a list of topologies: "v5e" becomes all slice shapes of v5e, "v5e:4x4" stays as it is.

  Raises:
    UserError: a topology does not exist, or is of CPUs, whose memory and speed are not known.
  """
  found = []
  for name in names:
    if name.startswith("cpu"):
      raise UserError(f"--sweep is over TPUs, not {name}, since only the memory and speed of TPUs are known")
    found += [f"{name}:{shape}" for shape in chips.CHIPS[name].slices] if name in chips.CHIPS else [name]
  for topology in found:
    chips.find(topology)
  return found


def sweep(config, number, topologies, *, num_slices=1, dcn_gbps=0, caption_length=0, log):
  """Returns {topology: plan with the largest batch that fits}, with None where not even the smallest batch fits.

  Args:
    config: config of the run; the search in the first topology starts at its batch size.
    number: stage number.
    topologies: smallest first, since the search in each starts at the per-device batch that fits the previous one.
    num_slices, dcn_gbps, caption_length: as for `make_plan`.
    log: called with a line of text for each compiled program.
  """
  plans, multiple = {}, None
  for topology in topologies:

    def plan_of(batch_size, topology=topology):
      changed = copy.deepcopy(config)
      changed[f"stage{number}"].batch_size = batch_size
      plan = make_plan(
        changed, number, topology, num_slices=num_slices, dcn_gbps=dcn_gbps, caption_length=caption_length
      )
      verdict = "fits" if plan["memory"]["fits"] else "does not fit"
      log(f"{topology}, batch {batch_size:,}: {verdict}, compiled in {plan['compile_seconds']:.0f} s")
      return plan

    least, most = step.batch_range(config, number, chips.devices(topology, num_slices))
    first = config[f"stage{number}"].batch_size if multiple is None else multiple * least
    plans[topology] = plan = largest_batch(plan_of, least=least, most=most, first=first)
    multiple = plan["batch_size"] // least if plan else multiple
  return plans


def largest_batch(plan_of, *, least, most, first):
  """Returns the plan of the largest batch that fits, among `least` times 1, 2, 4, ...; None if none fits.

  Args:
    plan_of: returns the plan for a batch size.
    least: smallest batch size that the devices divide.
    most: largest batch size: the whole training split.
    first: the search starts at the largest candidate up to this batch size.
  """
  sizes = [least * 2**power for power in range(max(0, (most // least).bit_length()))]
  if not sizes:
    return None
  start = max(0, bisect.bisect_right(sizes, first) - 1)
  plan = plan_of(sizes[start])
  if plan["memory"]["fits"]:
    for size in sizes[start + 1 :]:
      larger = plan_of(size)
      if not larger["memory"]["fits"]:
        break
      plan = larger
    return plan
  for size in reversed(sizes[:start]):
    plan = plan_of(size)
    if plan["memory"]["fits"]:
      return plan
  return None


def format_sweep(plans):
  """Returns the plans of a sweep as a text table."""
  rows = [_row(plan) for plan in plans.values() if plan]
  too_small = [topology for topology, plan in plans.items() if plan is None]
  parts = ([format_table(rows)] if rows else []) + (
    [f"not even the smallest batch fits {', '.join(too_small)}"] if too_small else []
  )
  return "\n".join(parts)


def scaling_points(plans):
  """Returns (chips, examples/s, examples/s if communication follows compute) of each plan with an estimate."""
  return [
    (plan["chips"], estimated["examples_per_second"], estimated["examples_per_second_sending_after"])
    for plan in plans.values()
    if plan and (estimated := plan["estimate"])
  ]


def _row(plan):
  estimated, memory = plan["estimate"], plan["memory"]
  return {
    "topology": plan["topology"],
    "chips": plan["chips"],
    "batch": plan["batch_size"],
    "per device": plan["batch_size"] // plan["devices"],
    "GiB": memory["total"] / chips.GIB,
    "memory": f"{memory['total'] / memory['capacity']:.0%}",
    "ms compute": estimated["seconds"] * 1e3,
    "ms communication": (estimated["link_seconds"] + estimated["dcn_seconds"]) * 1e3,
    "peak": f"{estimated['peak_share']:.1%}",
    "examples/s": round(estimated["examples_per_second"]),
    "without overlap": round(estimated["examples_per_second_sending_after"]),
    "epochs/hour": estimated["epochs_per_hour"],
  }
