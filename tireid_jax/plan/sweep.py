"""The largest batch that fits each of some topologies, and how fast it would run there."""

import bisect
import copy

from tireid_jax.errors import UserError
from tireid_jax.plan import chips, step
from tireid_jax.plan.estimate import make_plan
from tireid_jax.terminal.table import format_table


def topologies_of(names):
  """Returns the topologies that a list names: "v5e" is all of its slices, "v5e:4x4" is itself.

  Raises:
    ValueError: for one of CPUs, whose memory and speed are not known, or one that there is not.
  """
  found = []
  for name in names:
    if name.startswith("cpu"):
      raise UserError(f"--sweep is over TPUs, not {name}; their memory and speed are known")
    found += [f"{name}:{shape}" for shape in chips.CHIPS[name].slices] if name in chips.CHIPS else [name]
  for topology in found:
    chips.find(topology)
  return found


def sweep(config, number, topologies, *, num_slices=1, dcn_gbps=0, caption_length=0, say):
  """Returns {topology: plan with the largest batch that fits}; None where not even the least does.

  Args:
    config: of the run; its batch, spread over the first topology, is where the search begins.
    number: of the stage.
    topologies: smallest first, since what one holds a device is where the search begins in the next.
    num_slices, dcn_gbps, caption_length: as for `make_plan`.
    say: called with a line of text for each program that was compiled.
  """
  plans, share = {}, None
  for topology in topologies:

    def plan_of(batch_size, topology=topology):
      changed = copy.deepcopy(config)
      changed[f"stage{number}"].batch_size = batch_size
      plan = make_plan(
        changed, number, topology, num_slices=num_slices, dcn_gbps=dcn_gbps, caption_length=caption_length
      )
      verdict = "fits" if plan["memory"]["fits"] else "does not fit"
      say(f"{topology}, batch {batch_size:,}: {verdict}, compiled in {plan['compile_seconds']:.0f} s")
      return plan

    least, most = step.batch_range(config, number, chips.devices(topology, num_slices))
    first = config[f"stage{number}"].batch_size if share is None else share * least
    plans[topology] = plan = largest_batch(plan_of, least=least, most=most, first=first)
    share = plan["batch_size"] // least if plan else share
  return plans


def largest_batch(plan_of, *, least, most, first):
  """Returns the plan of the largest batch that fits, among `least` times 1, 2, 4, ...; None where none does.

  Args:
    plan_of: takes a batch size, returns its plan.
    least: smallest batch that the devices divide.
    most: no batch is larger: the whole training split.
    first: about where the search begins.
  """
  sizes = [least * 2**power for power in range(max(0, (most // least).bit_length()))]
  if not sizes:
    return None
  place = max(0, bisect.bisect_right(sizes, first) - 1)
  plan = plan_of(sizes[place])
  if plan["memory"]["fits"]:
    for size in sizes[place + 1 :]:
      larger = plan_of(size)
      if not larger["memory"]["fits"]:
        break
      plan = larger
    return plan
  for size in reversed(sizes[:place]):
    plan = plan_of(size)
    if plan["memory"]["fits"]:
      return plan
  return None


def format_sweep(plans):
  """Returns the plans of a sweep as a table of text."""
  rows = [_row(plan) for plan in plans.values() if plan]
  none = [topology for topology, plan in plans.items() if plan is None]
  parts = ([format_table(rows)] if rows else []) + (
    [f"not even the smallest batch fits {', '.join(none)}"] if none else []
  )
  return "\n".join(parts)


def scaling_points(plans):
  """Returns (chips, examples/s, examples/s if sending comes after the compute) of each plan that there is."""
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
    "a device": plan["batch_size"] // plan["devices"],
    "GiB": memory["total"] / chips.GIB,
    "memory": f"{memory['total'] / memory['capacity']:.0%}",
    "ms compute": estimated["seconds"] * 1e3,
    "ms sending": (estimated["link_seconds"] + estimated["dcn_seconds"]) * 1e3,
    "peak": f"{estimated['peak_share']:.1%}",
    "examples/s": round(estimated["examples_per_second"]),
    "sending after": round(estimated["examples_per_second_sending_after"]),
    "epochs/hour": estimated["epochs_per_hour"],
  }
