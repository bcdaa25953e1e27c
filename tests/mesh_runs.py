"""Runs of tests/agreement.py on meshes and in processes, and how far each is from the same steps on one device.

`python -m tests.mesh_runs` prints the largest differences.
"""

import pathlib
import sys
import tempfile

import numpy as np

from tests.processes import Processes, multiprocess_commands
from tireid_jax.terminal.table import format_table

MESHES = ("8,1,1", "1,8,1", "2,2,2")
ALONE = ("stage1:1,1,1", "stage2:1,1,1")
# Eight devices of one process; the batch as a whole, and in two chunks. Stage 1 runs on the mesh that has all axes.
TOGETHER = (
  *(f"stage2:{mesh}" for mesh in MESHES),
  "stage1:2,2,2",
  "stage2_chunks:2,2,2",
)
# Four devices of each of two processes. The hybrid mesh takes each process for a slice: split along data, the devices
# would lie as without slices; along fsdp, each group of four has two of each slice.
APART = ("stage1:8,1,1", "stage2:2,2,2", "stage2:2,4,1,fsdp,2")
RUNS = (*(("one process", run) for run in TOGETHER), *(("two processes", run) for run in APART))


def run_all(folder):
  """Returns {(processes, run): what it computed}, of all RUNS and of each stage "alone", on one device."""
  return {
    **_run(folder / "alone", "alone", ALONE, num_devices=1),
    **_run(folder / "together", "one process", TOGETHER, num_devices=8),
    **_run(folder / "apart", "two processes", APART, num_processes=2, num_devices=4),
  }


def _run(folder, name, runs, *, num_processes=1, num_devices):
  folder.mkdir()
  command = [sys.executable, "-m", "tests.agreement", f"--to={folder}", *(f"--run={run}" for run in runs)]
  commands = multiprocess_commands(command, number=num_processes) if num_processes > 1 else [command]
  with Processes(commands, num_devices=num_devices) as processes:
    processes.succeed()
    # XLA's word for an array that it copied to every device, not knowing better.
    assert "Involuntary full rematerialization" not in processes.errors(0)
  return {(name, run): dict(np.load(folder / f"{run}.npz")) for run in runs}


def reference(results, run):
  """Returns what one device computes of a run: of the whole batch at once, whatever its chunks."""
  stage = run[1].split(":")[0].removesuffix("_chunks")
  return results["alone", f"{stage}:1,1,1"]


def difference(results, run, kind):
  """Returns (how far a run is from one device at most, where), where being a step or the path of a leaf.

  Args:
    results: of `run_all`.
    run: one of RUNS.
    kind: "loss", relative; "gradient", of the first step, in shares of the leaf's largest; "weight", after the last
      step, in learning rates.
  """
  ours, theirs = results[run], reference(results, run)
  if kind == "loss":
    relative = np.abs(ours["loss"] / theirs["loss"] - 1)
    return relative.max(), f"step {relative.argmax()}"
  paths = {name for name in ours if name.startswith(f"{kind}/")}
  assert paths
  assert paths == {name for name in theirs if name.startswith(f"{kind}/")}
  if kind == "weight":
    # Adam's small eps makes steps of the rounding in a gradient that is 0.
    paths = {path for path in paths if not _is_key_bias(path)}
  return max((np.abs(ours[path] - theirs[path]).max() / _unit(ours, theirs, path, kind), path) for path in paths)


def _unit(ours, theirs, path, kind):
  if kind == "weight":
    return ours["learning_rate"]
  return np.abs(theirs[path.replace("/key/", "/query/") if _is_key_bias(path) else path]).max()


def _is_key_bias(path):
  """Whether a leaf's gradient is 0 in truth: it shifts all of a query's logits alike. What is there is rounding."""
  return path.endswith("attn/key/bias")


def main():
  with tempfile.TemporaryDirectory() as folder:
    results = run_all(pathlib.Path(folder))
  rows = [
    {
      "processes": run[0],
      "stage": (stage := run[1].partition(":")[0]).replace("_", ", in "),
      "data, fsdp, model (axis between slices, slices)": run[1].removeprefix(f"{stage}:"),
      "loss": f"{difference(results, run, 'loss')[0]:.1e}",
      "first gradients": f"{difference(results, run, 'gradient')[0]:.1e}",
      "weights after 20 steps": f"{difference(results, run, 'weight')[0]:.1e}",
    }
    for run in RUNS
  ]
  print(format_table(rows))


if __name__ == "__main__":
  main()
