"""Compares two workdirs bit by bit, except for values that depend on the wall clock."""

import json
import re

import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto import event_pb2

from tireid_jax.workdir import digests

# Fields of result.json, of a checkpoint's metadata and of the metric log that depend on the wall clock.
WALL_CLOCK = re.compile(r"seconds|speed/.*")
# Names of unfinished files, which must not remain.
_TEMPORARY = re.compile(r"\..+\.\d+|.*(tmp.*|\.kept|\.part)")
_STEP_ITEMS = ("variables", "optimizer")


def differences(workdir, expected, numbers=(1, 2)):
  """Returns the differences between stages of two workdirs, one line each."""
  found = []
  for number in numbers:
    folders = [path / f"stage{number}" for path in (workdir, expected)]
    for compare in _COMPARISONS:
      found += [f"stage {number}: {line}" for line in compare(*folders)]
  return found


def _without_wall_clock(record):
  """Returns a dictionary without the fields that depend on the wall clock."""
  return {name: value for name, value in record.items() if not WALL_CLOCK.fullmatch(name)}


def _fields(name, ours, theirs):
  ours, theirs = _without_wall_clock(ours), _without_wall_clock(theirs)
  return [
    f"{name}: {field} is {ours.get(field)!r}, not {theirs.get(field)!r}"
    for field in sorted(ours.keys() | theirs.keys())
    if ours.get(field, ...) != theirs.get(field, ...)
  ]


def compare_results(ours, theirs):
  """Returns the differences between the results of two stage folders, one line each, as do the functions below."""
  return _fields("result.json", *(_read_json(folder / "result.json", folder.parent) for folder in (ours, theirs)))


def _read_json(path, workdir):
  """Returns JSON data in which the workdir's path is replaced by WORKDIR."""
  return json.loads(path.read_text().replace(str(workdir), "WORKDIR"))


def compare_ranks(ours, theirs):
  return array_differences("ranks_test.npz", *(dict(np.load(folder / "ranks_test.npz")) for folder in (ours, theirs)))


def array_differences(name, ours, theirs):
  """Compares {name: array} bit by bit, including NaN and the sign of zero."""
  found = [f"{name}: {key} is in one alone" for key in sorted(ours.keys() ^ theirs.keys())]
  for key in sorted(ours.keys() & theirs.keys()):
    a, b = np.asarray(ours[key]), np.asarray(theirs[key])
    if (a.dtype, a.shape) != (b.dtype, b.shape) or a.tobytes() != b.tobytes():
      found.append(f"{name}: {key} differs")
  return found


def compare_logs(ours, theirs):
  a, b = ([json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (ours, theirs))
  steps, expected = ([(record["step"], "loss/total" in record) for record in records] for records in (a, b))
  if steps != expected:
    return [f"metrics.jsonl has lines of the steps {[step for step, _ in steps]}, not {[step for step, _ in expected]}"]
  return [line for x, y in zip(a, b, strict=True) for line in _fields(f"metrics.jsonl, step {x['step']}", x, y)]


def compare_events(ours, theirs):
  a, b = (
    [(step, tag, value) for step, tag, value in read_events(folder / "tensorboard") if not WALL_CLOCK.fullmatch(tag)]
    for folder in (ours, theirs)
  )
  return [] if a == b else [f"TensorBoard shows {len(a)} values, not {len(b)}, or others"]


def read_events(folder):
  """Returns [(step, tag, value)] as TensorBoard shows event files: without the values that a restart purges."""
  events = []
  for file in sorted(folder.iterdir()):
    content = file.read_bytes()
    while len(content) >= 12:
      size = int.from_bytes(content[:8], "little")
      record, content = content[12 : 12 + size], content[12 + size + 4 :]
      if len(record) < size:
        break  # truncated by a kill; TensorBoard also stops there
      event = event_pb2.Event.FromString(record)
      if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
        events = [entry for entry in events if entry[0] < event.step]
      events += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
  return events


def compare_checkpoints(ours, theirs):
  steps = [
    sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    for folder in (ours, theirs)
  ]
  if steps[0] != steps[1]:
    return [f"there are checkpoints of the steps {steps[0]}, not {steps[1]}"]
  found = []
  for step in steps[0]:
    a, b = (folder / "checkpoints" / str(step) for folder in (ours, theirs))
    name = f"checkpoint {step}"
    for item in _STEP_ITEMS:
      found += array_differences(f"{name}, {item}", _leaves(a / item), _leaves(b / item))
    for item in ("metadata", "metrics"):
      found += _fields(f"{name}, {item}", *(_read_json(path / item / item, path.parents[2]) for path in (a, b)))
    fault = digests.fault(ours, step, a)
    if fault:  # a checkpoint committed just before a kill has no digests, which is not a fault
      found.append(f"{name} does not agree with its digests: {fault}")
  return found


def compare_leftovers(ours, theirs):
  """Returns unfinished files in our folder, which must not remain."""
  del theirs
  return [f"{path.name} was left behind" for path in sorted(ours.rglob("*")) if _TEMPORARY.fullmatch(path.name)]


_COMPARISONS = (compare_results, compare_ranks, compare_logs, compare_events, compare_checkpoints, compare_leftovers)


def _leaves(folder):
  """Returns {path: array} of an item of a checkpoint."""
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.restore(folder)
  leaves = {}

  def visit(node, path):
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else None
    if children is None:
      leaves[path] = np.asarray(node)
    else:
      for key, child in children:
        visit(child, f"{path}/{key}")

  visit(tree, "")
  return leaves
