"""Parses the text of an HLO program: its computations and instructions, and how often each of them is executed.

It is our own parser, since there is no public one for the text of compiled HLO with the compiler's cycle estimate of
each operation. The compiler prints a program as computations with one instruction per line. A computation is the entry,
the body of a loop, a fusion (a single kernel, whose instructions have no cost of their own), a branch, or a function
that another computation calls.
"""

import collections
import dataclasses
import math
import re

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$|^(ENTRY )?%?([\w.\-]+) \{$")
_NAME = re.compile(r"%?([\w.\-]+)$")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_SOURCE = re.compile(r'op_name="([^"]*)"')
# Attributes that name the called computations, by opcode; those of loops are handled separately.
_CALLED = {
  "call": ("to_apply",),
  "async-start": ("calls",),
  "conditional": ("branch_computations", "true_computation", "false_computation"),
}


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: name of its value.
    opcode: the operation, such as "fusion".
    shape: shape of its value, as written: "f32[16,64]{1,0}", or a tuple of these.
    operands: names of its operands; for a constant, the value itself as text.
    attributes: the rest of the line.
  """

  name: str
  opcode: str
  shape: str
  operands: tuple[str, ...]
  attributes: str

  @property
  def cycles(self) -> int:
    """The compiler's estimate of the cycles of one execution, 0 if it gives none."""
    found = _CYCLES.search(self.attributes)
    return int(found[1]) if found else 0

  @property
  def source(self) -> str:
    """Path of the operation in the traced program, such as "jit(f)/blocks/fc/dot_general", or ""."""
    found = _SOURCE.search(self.attributes)
    return found[1] if found else ""

  def named(self, attribute: str) -> list[str]:
    """Returns the computations that an attribute names, such as `body=%b` or `branch_computations={%a, %b}`."""
    found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.attributes)
    return re.findall(r"[\w.\-]+", found[1]) if found else []


class Module:
  """A program.

  Attributes:
    computations: {name: {name of the value: Instruction}}, each after those that it calls; the last is the entry.
    num_partitions: number of devices that the program is partitioned over.
  """

  def __init__(self, text):
    self.computations: dict[str, dict[str, Instruction]] = {}
    self._roots: dict[str, Instruction] = {}
    self.num_partitions = int((re.search(r"^HloModule .*\bnum_partitions=(\d+)", text) or [0, 1])[1])
    name = ""
    for line in text.splitlines():
      if line.startswith("  ") and " = " in line:
        instruction = _instruction(line)
        self.computations[name][instruction.name] = instruction
        if line.startswith("  ROOT "):
          self._roots[name] = instruction
      elif line.endswith("{") and (header := _HEADER.match(line)):
        name = header[2] or header[4]
        self.computations[name] = {}

  def runs(self, *, into_fusions: bool) -> collections.Counter[str]:
    """Returns {computation: number of executions}, with loops multiplied by their trip counts.

    Every branch of a conditional counts as taken, and a loop of unknown trip count as one iteration.

    Args:
      into_fusions: whether to count the computations of fusions too.
    """
    runs = collections.Counter({next(reversed(self.computations)): 1})
    # A computation is printed after those that it calls, so in reverse order all callers are visited before it.
    for name in reversed(self.computations):
      for instruction in self.computations[name].values():
        for called, times in self._calls(name, instruction, into_fusions):
          runs[called] += times * runs[name]
    return runs

  def _calls(self, computation, instruction, into_fusions):
    if instruction.opcode == "while":
      trips = self.trips(computation, instruction)
      return [(name, 1 if trips is None else trips) for name in instruction.named("body")]
    attributes = _CALLED.get(instruction.opcode, ())
    if instruction.opcode == "fusion" and into_fusions:
      attributes = ("calls",)
    return [(name, 1) for attribute in attributes for name in instruction.named(attribute)]

  def trips(self, computation: str, loop: Instruction) -> int | None:
    """Returns the trip count of a `while`, or None if it is unknown.

    It is known if the compiler annotates it, or if the condition compares a counter with a constant, where the counter
    starts at a constant and is incremented by a constant.
    """
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
    if known:
      return int(known[1])
    condition = self.computations[loop.named("condition")[0]]
    compare = next((i for i in condition.values() if i.opcode == "compare"), None)
    if compare is None or "direction=LT" not in compare.attributes:
      return None
    counter, limit = (_origin(condition, operand) for operand in compare.operands)
    if limit.opcode != "constant" or counter.opcode != "get-tuple-element":
      return None
    index = int(first_group(r"index=(\d+)", counter.attributes))
    (body_name,) = loop.named("body")
    body = self.computations[body_name]
    first = _element(self.computations[computation], loop.operands[0], index)
    grown = _element(body, self._roots[body_name].name, index)
    steps = [origin for name in grown.operands if (origin := _origin(body, name)).opcode == "constant"]
    begin = int(first.operands[0]) if first.opcode == "constant" else 0
    step = int(steps[0].operands[0]) if grown.opcode == "add" and steps else 1
    return max(0, -((begin - int(limit.operands[0])) // step))

  def source_of(self, computation: str, instruction: Instruction) -> str:
    """Returns the source of an instruction, or of the instruction that produced its operand if it has none itself."""
    instructions = self.computations[computation]
    while not instruction.source and instruction.operands and instruction.operands[0] in instructions:
      instruction = instructions[instruction.operands[0]]
    return instruction.source

  def unknown_loops(self) -> list[str]:
    """Returns the names of the loops of unknown trip count."""
    return [
      instruction.name
      for name, computation in self.computations.items()
      for instruction in computation.values()
      if instruction.opcode == "while" and self.trips(name, instruction) is None
    ]


def _origin(computation, name):
  """Returns the instruction that computed a value, looking through copies."""
  instruction = computation[name]
  while instruction.opcode in ("copy", "bitcast", "convert", "copy-start", "copy-done"):
    instruction = computation[instruction.operands[0]]
  return instruction


def _element(computation, name, index):
  """Returns the instruction that computed an element of a tuple, as far as it can be traced back."""
  instruction = _origin(computation, name)
  return _origin(computation, instruction.operands[index]) if instruction.opcode == "tuple" else instruction


def _instruction(line):
  name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
  end = _closing(rest) if rest.startswith("(") else rest.index(" ")
  shape, rest = rest[:end], rest[end:].lstrip()
  opcode, _, _ = rest.partition("(")
  end = _closing(rest[len(opcode) :]) + len(opcode)
  inside = rest[len(opcode) + 1 : end - 1]
  operands = [_NAME.search(part.strip()) for part in _split(re.sub(r"/\*.*?\*/", "", inside))]
  return Instruction(name.lstrip("%"), opcode, shape, tuple(found[1] for found in operands if found), rest[end:])


def _closing(text):
  """Returns the index after the bracket that closes the first one."""
  depth = 0
  for index, letter in enumerate(text):
    depth += (letter in "({[") - (letter in ")}]")
    if depth == 0 and letter in ")}]":
      return index + 1
  raise ValueError(f"unbalanced brackets in the HLO text {text[:80]!r}")


def _split(text):
  """Splits a text at the commas outside of all brackets."""
  parts, depth, start = [], 0, 0
  for index, letter in enumerate(text):
    depth += (letter in "({[") - (letter in ")}]")
    if letter == "," and depth == 0:
      parts.append(text[start:index])
      start = index + 1
  return [*parts, text[start:]]


def dimensions(shape: str) -> list[int]:
  """Returns the sizes of the first array of a shape, "f32[16,64]{1,0}" -> [16, 64]."""
  return [int(size) for size in first_group(r"\[([\d,]*)\]", shape).split(",") if size]


def num_bytes(shape: str) -> int:
  """Returns the size in bytes of all arrays of a shape."""
  return (
    sum(_bits(kind) * math.prod(int(n) for n in sizes.split(",") if n) for kind, sizes in _ARRAY.findall(shape)) // 8
  )


def first_group(pattern: str, text: str) -> str:
  """Returns what the first group of a pattern matches; raises ValueError if the text has no match."""
  found = re.search(pattern, text)
  if found is None:
    raise ValueError(f"the HLO text {text[:80]!r} does not match {pattern}")
  return found[1]


def _bits(kind):
  """Returns the bits of an element type, "bf16" -> 16; of the types without a number, pred has 8 and token none."""
  number = re.search(r"\d+", kind)
  return int(number[0]) if number else 8 * (kind == "pred")
