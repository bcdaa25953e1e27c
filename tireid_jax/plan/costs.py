"""The cost of a compiled step: estimated cycles, bytes communicated, and FLOPs of matrix products."""

import collections
import dataclasses
import math
import re

from tireid_jax.plan import hlo
from tireid_jax.profiling.op_names import short_source

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Networks: the links inside a slice, and the data-center network between slices.
ICI, DCN = "ici", "dcn"
# Marks the first of the kernels that an asynchronous collective is spread over.
_ASYNC_START = 'custom_call_target="AsyncCollectiveStart"'
# Marks a `send` to other slices; sends without it go to the host.
_MEGASCALE = '_xla_host_transfer_handler_name="xla_megascale_runtime"'
# The device ids of each slice start at a multiple of this.
_DEVICES_PER_SLICE = 100_000


@dataclasses.dataclass(frozen=True)
class Operation:
  """The kernels of a step that come from one operation of the traced program.

  Attributes:
    source: path of the operation, such as "transformer/blocks/fc/dot_general"; the compiler's own name if it has none.
    runs: number of kernels executed per step, with loops multiplied by their trip counts.
    cycles: the compiler's estimate, summed over these kernels.
  """

  source: str
  runs: int
  cycles: int


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective operation between devices.

  Attributes:
    kind: one of COLLECTIVES.
    source: as for an Operation.
    num_bytes: size of the whole array on one device: the input of a reduction, or the output of a gather.
    group_size: number of participating devices; over DCN, one device per slice.
    runs: number of executions per step.
    network: ICI or DCN.
  """

  kind: str
  source: str
  num_bytes: int
  group_size: int
  runs: int
  network: str = ICI

  @property
  def sent_bytes(self) -> float:
    """The minimum number of bytes that a device sends in a step, which is what a ring algorithm sends."""
    fraction = (self.group_size - 1) / self.group_size
    each = {"all-reduce": 2 * fraction, "collective-permute": 1.0}.get(self.kind, fraction)
    return self.num_bytes * each * self.runs


def operations(module: hlo.Module) -> list[Operation]:
  """Returns the Operations of a compiled program, most expensive first; empty if the compiler estimates no cycles."""
  cycles: collections.Counter = collections.Counter()
  runs: collections.Counter = collections.Counter()
  for computation, times in module.runs(into_fusions=False).items():
    for instruction in module.computations[computation].values():
      if instruction.cycles:
        source = short_source(instruction.source) or instruction.name
        cycles[source] += instruction.cycles * times
        runs[source] += times
  return [Operation(source, runs[source], count) for source, count in cycles.most_common()]


def collectives(module: hlo.Module) -> list[Collective]:
  """Returns the Collectives of a compiled program, ordered by bytes sent, largest first.

  A collective that the compiler spreads over several kernels, to overlap it with other work, appears in each of them;
  it is counted where it starts. A collective that the compiler duplicates, such as one in the first iteration of a loop
  that is peeled off, is counted each time.
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
  """Returns (key that identifies the collective, Collective) of a collective instruction."""
  instructions = module.computations[computation]
  kind = instruction.opcode.removesuffix("-start")
  size = _group_size(instruction, module.num_partitions)
  taken = sum(hlo.num_bytes(instructions[name].shape) for name in instruction.operands)
  channel = re.search(r"\bchannel_id=(\d+)", instruction.attributes)
  # The TPU compiler writes a reduce-scatter as an all-reduce of which each device keeps its part.
  kept = "reduce-scatter" if kind == "all-reduce" and "all-reduce-scatter" in computation else kind
  exchange = Collective(
    kept, short_source(instruction.source) or instruction.name,
    taken * size if kind == "all-gather" else taken, size, runs=0,
  )  # fmt: skip
  # In a program for several slices, collectives of different kinds may share a channel id.
  return (kind, channel[1] if channel else instruction.name, taken), exchange


def _between_slices(module, computation, instruction):
  """Returns (key that identifies the collective, Collective) of a `send` to other slices.

  The compiler writes a collective between slices as a send and a receive of one device's part. Their attributes give
  the kind of collective, the participants and an identifier: ALL_REDUCE, "{1,2}x{0:3}", "all-reduce.2_0".
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
  """Returns the number of slices in a collective of this kind, from the target of its `send`."""
  if found := re.fullmatch(r"\{([\d,:]+)\}x\{[\d,:]+\}", target):  # {slices, from 1}x{devices of each}
    return sum(int(last or first) - int(first) + 1 for first, last in re.findall(r"(\d+)(?::(\d+))?", found[1]))
  # Every device exchanges with every other; traffic within a slice does not use this network.
  if kind == "all-to-all" and re.fullmatch(r"\{\{[\d,]+\}\}", target):
    return len({int(device) // _DEVICES_PER_SLICE for device in re.findall(r"\d+", target)})
  raise ValueError(f"the HLO text has a collective between slices of unknown form: {kind} {target[:200]}")


def _group_size(instruction, num_partitions):
  """Returns the number of devices in one group of a collective, for each of the notations of replica groups."""
  text = instruction.attributes
  if instruction.opcode.startswith("collective-permute"):
    return num_partitions
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):  # [groups, devices per group]
    return int(found[1])
  # Mesh axes, whole or in part; the order of the devices, if given, does not change the size.
  if found := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\S*\))? \{([^}]*)\}", text):
    sizes = {axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
    axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
    return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
  if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):  # each device of each group
    return found[1].count(",") + 1
  if "replica_groups=" in text and "replica_groups={}" not in text:
    raise ValueError(f"the HLO text has replica groups of unknown form: {text[:200]!r}")
  return num_partitions


def matrix_flops(module: hlo.Module) -> int:
  """Returns the FLOPs of all matrix products of a traced program, over all devices."""
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
