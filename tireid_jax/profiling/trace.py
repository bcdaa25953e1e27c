"""Reads traces of JAX's profiler: how the device time is divided among operations."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Sequence

import jax

from tireid_jax.profiling.op_names import short_source

# Name of the annotation of a training step, and of its compiled program.
STEP, PROGRAM = "train", "jit_train_step"
# In a line of compiled HLO text: the instruction's name and the path of its operation in the traced program.
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*\bop_name="([^"]*)"', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Operation:
  """The device time of one operation of the traced program.

  Attributes:
    source: path of the operation, such as "transformer/blocks/fc/dot_general"; the compiler's name if it has none.
    runs: number of executions.
    seconds: device time of all executions; for a loop, without the operations in its body.
  """

  source: str
  runs: int
  seconds: float


def options() -> jax.profiler.ProfileOptions:
  """Returns ProfileOptions with the tracer of Python calls disabled, since it slows down the host."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  return options


def lines(folder):
  """Returns [(name of its plane, line of events)] of the only trace in a folder."""
  (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
  data = jax.profiler.ProfileData.from_file(str(file))
  return [(plane.name, line) for plane in data.planes for line in plane.lines]


def num_steps(lines) -> int:
  """Returns the number of annotated training steps in a trace."""
  return sum(event.name == STEP for plane, line in lines if plane == "/host:CPU" for event in line.events)


def operations(lines, programs):
  """Returns the Operations that CPUs or GPUs executed, most expensive first.

  On a CPU, device time is the time that threads spent in operations; on GPUs it is that of kernels and copies. No time
  is counted twice. Operations of programs other than the training step are prefixed with the program's name.

  Args:
    lines: as `lines` returns.
    programs: [(name, {instruction: op_name})] of compiled programs, as `compiled_programs` returns.
  """
  runs: collections.Counter = collections.Counter()
  nanoseconds: collections.Counter = collections.Counter()
  for plane, line in lines:
    for key, duration in _executions(plane, line):
      runs[key] += 1
      nanoseconds[key] += duration
  instructions = collections.defaultdict(set)
  for module, program, instruction in nanoseconds:
    instructions[module, program].add(instruction)
  paths = {key: _best_match(key[0], names, programs) for key, names in instructions.items()}
  found: dict[str, list] = {}
  for (module, program, instruction), spent in nanoseconds.items():
    source = short_source(paths[module, program].get(instruction, "")) or instruction
    prefix = "" if module in (PROGRAM, "") else f"{module.removeprefix('jit_').strip('_')}: "
    total = found.setdefault(prefix + source, [0, 0.0])
    total[0] += runs[module, program, instruction]
    total[1] += spent / 1e9
  return sorted((Operation(source, *total) for source, total in found.items()), key=lambda o: -o.seconds)


def compiled_programs():
  """Returns [(name, {instruction: op_name})] of the live compiled programs of this process.

  A trace names the instructions of the compiled program, such as fusion.12, not the operations of the traced program.
  """
  executables = jax.local_devices()[0].client.live_executables()
  modules = [module for executable in executables for module in executable.hlo_modules()]
  return [(module.name, dict(_INSTRUCTION.findall(module.to_string()))) for module in modules]


def _executions(plane, line):
  """Returns [((module, program, instruction), ns)] of a line; empty unless it is of a device or its threads."""
  if plane == "/host:CPU":
    events = [(event, stats) for event in line.events if "hlo_op" in (stats := dict(event.stats))]
    durations = self_times([(event.start_ns, event.start_ns + event.duration_ns) for event, _ in events])
  elif plane.startswith("/device:GPU") and line.name.startswith("Stream"):
    events = [(event, dict(event.stats)) for event in line.events]
    durations = [event.duration_ns for event, _ in events]
  else:
    return []
  keys = [
    (str(stats.get("hlo_module", "")), stats.get("program_id"), str(stats.get("hlo_op") or event.name))
    for event, stats in events
  ]
  return list(zip(keys, durations, strict=True))


def self_times(spans: Sequence[tuple[float, float]]) -> list[float]:
  """Returns the self time of each span (begin, end) of a thread: its duration minus that of the spans nested in it."""
  durations = [end - begin for begin, end in spans]
  around: list[int] = []
  for index in sorted(range(len(spans)), key=lambda index: (spans[index][0], -spans[index][1])):
    while around and spans[around[-1]][1] <= spans[index][0]:
      around.pop()
    if around:
      durations[around[-1]] -= spans[index][1] - spans[index][0]
    around.append(index)
  return durations


def _best_match(module, instructions, programs):
  """Returns {instruction: op_name} of the program with the given name that has the most of these instructions.

  A step is compiled for each caption length, always under the same name. Traces distinguish such programs by an id that
  JAX does not expose for a compiled program.
  """
  candidates = [paths for name, paths in programs if name == module]
  return max(candidates, key=lambda paths: len(instructions & paths.keys()), default={})
