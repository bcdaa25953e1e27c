"""What a compiled step costs: cycles by the compiler's estimate, bytes that are sent, products that are computed."""

import collections
import dataclasses
import math
import re

from tireid_jax.plan import hlo

# Parts of the path of an operation that say nothing of the model.
_TRACING = ("while", "body", "closed_call", "checkpoint")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


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
    group_size: devices that take part.
    runs: how often a step.
  """

  kind: str
  source: str
  num_bytes: int
  group_size: int
  runs: int

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

  An exchange that the compiler spreads over several kernels, to run beside others, has one channel and counts once; so
  does one that is started by one instruction and ended by another.
  """
  found: dict[str, Collective] = {}
  for computation, times in module.runs(into_fusions=True).items():
    instructions = module.computations[computation]
    for instruction in instructions.values():
      kind = instruction.opcode.removesuffix("-start")
      if kind not in COLLECTIVES:
        continue
      size = _group_size(instruction, module.num_partitions)
      taken = sum(hlo.num_bytes(instructions[name].shape) for name in instruction.operands)
      channel = re.search(r"\bchannel_id=(\d+)", instruction.attributes)
      # An all-reduce of which each device keeps its part is how the TPU compiler writes a reduce-scatter.
      kept = "reduce-scatter" if kind == "all-reduce" and "all-reduce-scatter" in computation else kind
      exchange = Collective(
        kept, short_source(instruction.source) or instruction.name,
        taken * size if kind == "all-gather" else taken, size, times,
      )  # fmt: skip
      key = channel[1] if channel else instruction.name
      # Of one that is carried on beside a loop, only the start and the end stand outside of it.
      if key not in found or times < found[key].runs:
        found[key] = exchange
  return sorted((c for c in found.values() if c.group_size > 1), key=lambda c: -c.sent_bytes)


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


def short_source(source):
  """Returns a place in the traced program without what tracing put around its names.

  "jit(f)/transpose(jvp(CLIP))/CLIP.encode_text/text_encoder/while/body/blocks/fc/dot_general" becomes
  "backward text_encoder/blocks/fc/dot_general".
  """
  # Where operations are merged, the first of them stands for all.
  source = re.sub(r"^\((.*?):.*", r"\1", re.sub(r"^jit\(\w+\)/", "", source))
  names = []
  for name in source.split("/"):
    while wrapped := re.fullmatch(r"(?:transpose|jvp|vmap|jit)\((.*)\)", name):
      name = wrapped[1]
    if name and name not in _TRACING and not name.startswith("CLIP"):
      names.append(name)
  return ("backward " if source.startswith("transpose(") else "") + "/".join(names)
