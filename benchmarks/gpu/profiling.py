"""Where the time of a step goes, by kind of operation and for the longest operations, from a profiler trace."""

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
# A line of compiled HLO text: the instruction's name, its opcode, and the rest.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?\s([\w\-]+)\((.*)$", re.MULTILINE)
_SOURCE = re.compile(r'op_name="([^"]*)"')
# Patterns in the attributes of a compiled instruction, or in the body of a fusion.
_ATTENTION = re.compile(r"__cudnn\$fmha")
_PRODUCT = re.compile(r"__cublas|__cudnn\$conv|__triton_(nested_)?gemm|__onednn")
_PRODUCT_INSIDE = re.compile(r"\s(dot|convolution)\(")
# Patterns in kernel names, the only information that a trace has on kernels of a CUDA graph.
_ATTENTION_KERNEL = re.compile(r"fmha|flash|sdpa", re.IGNORECASE)
_PRODUCT_KERNEL = re.compile(r"gemm|nvjet|cutlass|xmma|cublas|wgmma", re.IGNORECASE)
REST = "memory-bound: the rest"


def profile(variant, batch_size, stage=2):
  """Returns the fractions of a step's device time by kind, the idle fraction, and the longest operations.

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
    raise RuntimeError("the trace has no device operations")
  return summary(events, instructions(prepared.step.as_text()))


def executions(folder):
  """Returns [(instruction, begin, end, line)], ns, executed by a GPU's streams or a CPU's threads."""
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
  """Returns {instruction: (kind, path in the traced program)} from the text of a compiled program."""
  bodies = dict(re.findall(r"^%?([\w.\-]+)(?: [^\n]*)? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
  found = {}
  for name, opcode, attributes in _INSTRUCTION.findall(text):
    called = re.search(r"calls=%?([\w.\-]+)", attributes)
    source = _SOURCE.search(attributes)
    kind = _kind(opcode, attributes, bodies.get(called[1], "") if called else "")
    found[name] = kind, costs.short_source(source[1]) if source else name
  return found


def _kind(opcode, attributes, body):
  """Returns the kind of an instruction, from its opcode, attributes and, for a fusion, the text of its body."""
  if _ATTENTION.search(attributes):
    return "attention"
  if opcode in ("dot", "convolution") or _PRODUCT.search(attributes) or _PRODUCT_INSIDE.search(body):
    return "matrix products"
  return "copies" if opcode in ("copy", "transpose") else REST


def _kind_of_kernel(name):
  """Returns the kind of a library kernel, from its name."""
  if _ATTENTION_KERNEL.search(name):
    return "attention"
  if _PRODUCT_KERNEL.search(name):
    return "matrix products"
  return "copies" if name.startswith("Memcpy") else REST


def _letters(name):
  return re.sub(r"[^A-Za-z0-9]", "_", name)


def summary(events, known):
  """Returns the result of a profile.

  Args:
    events: from `executions`.
    known: from `instructions`.
  """
  kinds: collections.Counter = collections.Counter()
  sources: collections.Counter = collections.Counter()
  # XLA names kernels after their instructions, with different separators.
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
  """Returns the time during which at least one event ran, ns."""
  covered, reached = 0, 0
  for begin, end in sorted((begin, end) for _, begin, end, _ in events):
    covered += max(0, end - max(begin, reached))
    reached = max(reached, end)
  return covered
