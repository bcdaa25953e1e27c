"""Runs tests/agreement.py on several meshes and in several processes, and compares each run with one device.

`python -m tests.mesh_runs` prints the largest differences.
"""

import pathlib
import sys
import tempfile

import numpy as np

from tests.processes import Processes, multiprocess_commands
from tireid_jax.terminal.table import format_table

MESHES = ("8,1,1", "1,8,1", "2,2,2")
ONE_DEVICE = ("stage1:1,1,1", "stage2:1,1,1")
# Eight devices of one process; the whole batch, and gradient caching in chunks. Stage 1 runs on the mesh with all axes.
ONE_PROCESS = (
  *(f"stage2:{mesh}" for mesh in MESHES),
  "stage1:2,2,2",
  "stage2_chunks:2,2,2",
)
# Four devices in each of two processes. In the hybrid mesh each process is a slice. Split along data, the devices would
# be arranged as without slices; along fsdp, each group of four has two devices of each slice.
TWO_PROCESSES = ("stage1:8,1,1", "stage2:2,2,2", "stage2:2,4,1,fsdp,2")
RUNS = (*(("one process", run) for run in ONE_PROCESS), *(("two processes", run) for run in TWO_PROCESSES))


def run_all(folder):
  """Returns {(processes, run): results} of all RUNS and, as "alone", of each stage on one device."""
  return {
    **_run(folder / "alone", "alone", ONE_DEVICE, num_devices=1),
    **_run(folder / "together", "one process", ONE_PROCESS, num_devices=8),
    **_run(folder / "apart", "two processes", TWO_PROCESSES, num_processes=2, num_devices=4),
  }


def _run(folder, name, runs, *, num_processes=1, num_devices):
  folder.mkdir()
  command = [sys.executable, "-m", "tests.agreement", f"--to={folder}", *(f"--run={run}" for run in runs)]
  commands = multiprocess_commands(command, number=num_processes) if num_processes > 1 else [command]
  with Processes(commands, num_devices=num_devices) as processes:
    processes.succeed()
    # XLA's warning that it replicated an array because it found no better way to reshard it.
    assert "Involuntary full rematerialization" not in processes.errors(0)
  return {(name, run): dict(np.load(folder / f"{run}.npz")) for run in runs}


def reference(results, run):
  """Returns the results on one device for the same stage, always with the whole batch at once."""
  stage = run[1].split(":")[0].removesuffix("_chunks")
  return results["alone", f"{stage}:1,1,1"]


def difference(results, run, kind):
  """Returns (largest difference between a run and one device, its step or the path of its leaf).

  Args:
    results: of `run_all`.
    run: one of RUNS.
    kind: "loss", relative; "gradient", of the first step, relative to the largest value of the leaf; "weight", after
      the last step, in units of the learning rate.
  """
  ours, theirs = results[run], reference(results, run)
  if kind == "loss":
    relative = np.abs(ours["loss"] / theirs["loss"] - 1)
    return relative.max(), f"step {relative.argmax()}"
  paths = {name for name in ours if name.startswith(f"{kind}/")}
  assert paths
  assert paths == {name for name in theirs if name.startswith(f"{kind}/")}
  if kind == "weight":
    # Because of Adam's small eps, rounding errors in a gradient of 0 become full steps.
    paths = {path for path in paths if not _is_key_bias(path)}
  return max((np.abs(ours[path] - theirs[path]).max() / _unit(ours, theirs, path, kind), path) for path in paths)


def _unit(ours, theirs, path, kind):
  if kind == "weight":
    return ours["learning_rate"]
  return np.abs(theirs[path.replace("/key/", "/query/") if _is_key_bias(path) else path]).max()


def _is_key_bias(path):
  """Returns whether a leaf has a gradient of 0 up to rounding, because it shifts all logits of a query equally."""
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
