"""What a compiled step costs: cycles by the compiler's estimate, bytes that are sent, products that are computed."""

import collections
import dataclasses
import math
import re

from tireid_jax.plan import hlo
from tireid_jax.profiling.op_names import short_source

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Networks: the links inside a slice, and the data-center network between slices.
ICI, DCN = "ici", "dcn"
# In the first of the kernels that an exchange is spread over.
_ASYNC_START = 'custom_call_target="AsyncCollectiveStart"'
# Of a `send` to other slices; others go to the host.
_MEGASCALE = '_xla_host_transfer_handler_name="xla_megascale_runtime"'
# The device numbers of a slice begin at a multiple of this.
_DEVICES_PER_SLICE = 100_000


@dataclasses.dataclass(frozen=True)
class Operation:
  """What of a step has one place in the traced program.

  Attributes:
    source: that place, as "transformer/blocks/fc/dot_general"; the compiler's own name where it gives none.
    runs: how many kernels a step, loops counted by their trips.
    cycles: of all of them, by the compiler's estimate.
  """

  source: str
  runs: int
  cycles: int


@dataclasses.dataclass(frozen=True)
class Collective:
  """An exchange between devices.

  Attributes:
    kind: one of COLLECTIVES.
    source: as of an Operation.
    num_bytes: of the whole array on one device: what is reduced, or what has been gathered.
    group_size: devices that take part; over DCN, one device of each slice.
    runs: how often a step.
    network: ICI or DCN.
  """

  kind: str
  source: str
  num_bytes: int
  group_size: int
  runs: int
  network: str = ICI

  @property
  def sent_bytes(self):
    """Bytes that a device must send at least in a step: what a ring sends, the least there is."""
    share = (self.group_size - 1) / self.group_size
    each = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)
    return self.num_bytes * each * self.runs


def operations(module):
  """Returns the Operations of a compiled program, the dearest first; without cycles there are none."""
  cycles: collections.Counter = collections.Counter()
  runs: collections.Counter = collections.Counter()
  for computation, times in module.runs(into_fusions=False).items():
    for instruction in module.computations[computation].values():
      if instruction.cycles:
        source = short_source(instruction.source) or instruction.name
        cycles[source] += instruction.cycles * times
        runs[source] += times
  return [Operation(source, runs[source], count) for source, count in cycles.most_common()]


def collectives(module):
  """Returns the Collectives of a compiled program, those that send most first.

  An exchange that the compiler spreads over several kernels, to run beside others, has a part in each; it counts where
  it starts. One that it repeats, as for the first round of a loop, which it takes out of the loop, counts each time.
  """
  unfused = module.runs(into_fusions=False)
  found: dict[tuple, Collective] = {}
  runs: collections.Counter = collections.Counter()
  parts: collections.Counter = collections.Counter()
  for computation, times in module.runs(into_fusions=True).items():
    instructions = module.computations[computation]
    starts = any(_ASYNC_START in instruction.attributes for instruction in instructions.values())
    for instruction in instructions.values():
      if instruction.opcode == "send" and _MEGASCALE in instruction.attributes:
        key, exchange = _between_slices(module, computation, instruction)
      elif instruction.opcode.removesuffix("-start") in COLLECTIVES:
        key, exchange = _within_slice(module, computation, instruction)
      else:
        continue
      found.setdefault(key, exchange)
      (runs if starts or computation in unfused else parts)[key] += times
  counted = [dataclasses.replace(exchange, runs=runs[key] or parts[key]) for key, exchange in found.items()]
  return sorted((c for c in counted if c.group_size > 1), key=lambda c: -c.sent_bytes)


def _within_slice(module, computation, instruction):
  """Returns (what tells it from others, Collective) of a collective instruction."""
  instructions = module.computations[computation]
  kind = instruction.opcode.removesuffix("-start")
  size = _group_size(instruction, module.num_partitions)
  taken = sum(hlo.num_bytes(instructions[name].shape) for name in instruction.operands)
  channel = re.search(r"\bchannel_id=(\d+)", instruction.attributes)
  # An all-reduce of which each device keeps its part is how the TPU compiler writes a reduce-scatter.
  kept = "reduce-scatter" if kind == "all-reduce" and "all-reduce-scatter" in computation else kind
  exchange = Collective(
    kept, short_source(instruction.source) or instruction.name,
    taken * size if kind == "all-gather" else taken, size, runs=0,
  )  # fmt: skip
  # In a program for several slices, collectives of different kinds may have channels of the same number.
  return (kind, channel[1] if channel else instruction.name, taken), exchange


def _between_slices(module, computation, instruction):
  """Returns (what tells it from others, Collective) of a `send` to other slices.

  The compiler writes a collective between slices as a send and a receive of the part of one device, whose attributes
  name the collective, who takes part and an identifier: ALL_REDUCE, "{1,2}x{0:3}", "all-reduce.2_0".
  """
  attributes = instruction.attributes
  kind = hlo.first_group(r'_xla_megascale_transfer_type="(\w+)"', attributes).lower().replace("_", "-")
  size = _num_slices(kind, hlo.first_group(r'_xla_megascale_target="?(.*?)"?,_xla', attributes))
  identifier = hlo.first_group(r'_xla_host_transfer_rendezvous="([^"]*)"', attributes)
  taken = hlo.num_bytes(module.computations[computation][instruction.operands[0]].shape)
  source = short_source(module.source_of(computation, instruction)) or identifier
  whole = taken * size if kind == "all-gather" else taken
  exchange = Collective(kind, source, whole, size, runs=0, network=DCN)
  return (DCN, identifier), exchange


def _num_slices(kind, target):
  """Returns how many slices exchange with each other, by the target of a `send` of this kind."""
  if found := re.fullmatch(r"\{([\d,:]+)\}x\{[\d,:]+\}", target):  # {slices, from 1}x{devices of each}
    return sum(int(last or first) - int(first) + 1 for first, last in re.findall(r"(\d+)(?::(\d+))?", found[1]))
  # Each device with each of the others, of which a device of its own slice costs nothing here.
  if kind == "all-to-all" and re.fullmatch(r"\{\{[\d,]+\}\}", target):
    return len({int(device) // _DEVICES_PER_SLICE for device in re.findall(r"\d+", target)})
  raise ValueError(f"the HLO text has an exchange between slices that is not known: {kind} {target[:200]}")


def _group_size(instruction, num_partitions):
  """Returns how many devices take part in one exchange, by whichever way the groups are written."""
  text = instruction.attributes
  if instruction.opcode.startswith("collective-permute"):
    return num_partitions
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):  # [groups, devices of each]
    return int(found[1])
  # Axes of a mesh, whole or in part; the order of its devices, where it is written, changes no size.
  if found := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\S*\))? \{([^}]*)\}", text):
    sizes = {axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
    axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
    return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
  if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):  # each device of each group
    return found[1].count(",") + 1
  if "replica_groups=" in text and "replica_groups={}" not in text:
    raise ValueError(f"the HLO text writes groups of devices in a way that is not known: {text[:200]!r}")
  return num_partitions


def matrix_flops(module):
  """Returns the floating-point operations of the matrix products of a program as traced, of all devices together."""
  total = 0
  for computation, times in module.runs(into_fusions=True).items():
    instructions = module.computations[computation]
    for instruction in instructions.values():
      if instruction.opcode == "dot":
        left = hlo.dimensions(instructions[instruction.operands[0]].shape)
        contracted = hlo.first_group(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
        depth = math.prod(left[int(axis)] for axis in contracted.split(",") if axis)
        total += 2 * math.prod(hlo.dimensions(instruction.shape)) * depth * times
  return total
