"""What a step's time is spent on, by kinds of operations and one by one, read off a trace."""

import collections
import pathlib
import re
import tempfile

import jax

from benchmarks.gpu import speed
from tireid_jax.parallel import sharding
from tireid_jax.plan import costs

NUM_STEPS = 5
NUM_OPERATIONS = 10
# A line of compiled HLO text: the instruction's name, what it does, and the rest.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?\s([\w\-]+)\((.*)$", re.MULTILINE)
_SOURCE = re.compile(r'op_name="([^"]*)"')
# Of the attributes of a compiled instruction, or of what a fusion is made of.
_ATTENTION = re.compile(r"__cudnn\$fmha")
_PRODUCT = re.compile(r"__cublas|__cudnn\$conv|__triton_(nested_)?gemm|__onednn")
_PRODUCT_INSIDE = re.compile(r"\s(dot|convolution)\(")
# The same of kernels' own names, which is all that a trace has of those that run as parts of a CUDA graph.
_ATTENTION_KERNEL = re.compile(r"fmha|flash|sdpa", re.IGNORECASE)
_PRODUCT_KERNEL = re.compile(r"gemm|nvjet|cutlass|xmma|cublas|wgmma", re.IGNORECASE)
REST = "memory-bound: the rest"


def profile(variant, batch_size, stage=2):
  """Returns the fractions of a step's device time by kind, the part that no kernel ran, and the longest operations.

  A fusion with a product in it counts as a product.
  """
  prepared = speed.Prepared(variant, stage, batch_size, 1, {})
  state, batch = prepared.state(), sharding.put_batch(prepared.mesh, prepared.batch)
  for _ in range(speed.WARM_UP):
    state, metrics = prepared.step(state, batch)
  jax.block_until_ready((state, metrics))
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder, profiler_options=options):
      for _ in range(NUM_STEPS):
        state, metrics = prepared.step(state, batch)
      jax.block_until_ready((state, metrics))
    events = executions(folder)
  if not events:
    raise RuntimeError("the trace holds no operation of a device")
  return summary(events, instructions(prepared.step.as_text()))


def executions(folder):
  """Returns [(instruction, begin, end, line)], ns, of what a GPU's streams or a CPU's threads executed."""
  (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
  found = []
  for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
    for line in plane.lines:
      is_gpu = plane.name.startswith("/device:GPU") and line.name.startswith("Stream")
      if is_gpu or plane.name == "/host:CPU":
        for event in line.events:
          stats = dict(event.stats)
          if is_gpu or "hlo_op" in stats:
            name = str(stats.get("hlo_op") or event.name)
            found.append((name, event.start_ns, event.start_ns + event.duration_ns, line.name))
  return found


def instructions(text):
  """Returns {instruction: (kind, path in the traced program)} of the text of a compiled program."""
  bodies = dict(re.findall(r"^%?([\w.\-]+)(?: [^\n]*)? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
  found = {}
  for name, opcode, attributes in _INSTRUCTION.findall(text):
    called = re.search(r"calls=%?([\w.\-]+)", attributes)
    source = _SOURCE.search(attributes)
    kind = _kind(opcode, attributes, bodies.get(called[1], "") if called else "")
    found[name] = kind, costs.short_source(source[1]) if source else name
  return found


def _kind(opcode, attributes, body):
  """Returns what an instruction does: its opcode, operands and attributes, and the body of a fusion, as text."""
  if _ATTENTION.search(attributes):
    return "attention"
  if opcode in ("dot", "convolution") or _PRODUCT.search(attributes) or _PRODUCT_INSIDE.search(body):
    return "matrix products"
  return "copies" if opcode in ("copy", "transpose") else REST


def _kind_of_kernel(name):
  """Returns what a kernel of a library does, by its name."""
  if _ATTENTION_KERNEL.search(name):
    return "attention"
  if _PRODUCT_KERNEL.search(name):
    return "matrix products"
  return "copies" if name.startswith("Memcpy") else REST


def _letters(name):
  return re.sub(r"[^A-Za-z0-9]", "_", name)


def summary(events, known):
  """Returns the row of a profile.

  Args:
    events: as `executions` returns.
    known: as `instructions` returns.
  """
  kinds: collections.Counter = collections.Counter()
  sources: collections.Counter = collections.Counter()
  # XLA names its kernels after their instructions, with other marks between the words.
  by_kernel = {_letters(name): value for name, value in known.items()}
  for name, begin, end, _ in events:
    kind, source = known.get(name) or by_kernel.get(_letters(name)) or (_kind_of_kernel(name), name)
    kinds[kind] += end - begin
    sources[f"{kind}: {source}"] += end - begin
  total = sum(kinds.values())
  span = max(end for _, _, end, _ in events) - min(begin for _, begin, _, _ in events)
  return {
    "step_ms": round(span / NUM_STEPS / 1e6, 3),
    "busy_ms": round(_covered(events) / NUM_STEPS / 1e6, 3),
    "idle_fraction": round(1 - _covered(events) / span, 4),
    "fractions": {kind: round(value / total, 4) for kind, value in kinds.most_common()},
    "operations": [
      {"operation": source, "ms": round(value / NUM_STEPS / 1e6, 3), "fraction": round(value / total, 4)}
      for source, value in sources.most_common(NUM_OPERATIONS)
    ],
  }


def _covered(events):
  """Returns the ns in which at least one event ran."""
  covered, reached = 0, 0
  for begin, end in sorted((begin, end) for _, begin, end, _ in events):
    covered += max(0, end - max(begin, reached))
    reached = max(reached, end)
  return covered
