"""Runs the benchmarks, each in a process of its own, and prints one table.

  python -m benchmarks.run
  python -m benchmarks.run --peer=IRRA --peer_python=PYTHON --rounds=3 --json=FILE
  python -m benchmarks.run --only=step2,step1 --baseline=benchmarks/baseline.json

With a checkout of the reference (IRRA) and a Python that has its libraries (peer/requirements.txt), each round times
both sides in turn. Values are medians over rounds, and a ratio is the median of the rounds' ratios; above 1, ours is
better. A baseline is the file that an earlier run wrote with --json; changes beyond noise are printed.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

from benchmarks import report

ROOT = pathlib.Path(__file__).parents[1]
PEER = pathlib.Path(__file__).parent / "peer"
# The same for both sides. Temporary memory is mapped anew in each step; huge pages avoid most of the page faults.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "JAX_PLATFORMS": "cpu"}
# {benchmark: (our module and its flags, the reference's script and its flags)}; FILE is replaced by an output file.
COMMANDS = {
  "step2": ("step --stage=2 --batch_size=8", "step.py --batch-size 8"),
  "step1": ("step --stage=1 --batch_size=8", "step.py --batch-size 8 --trainable image-prompts --losses sdm"),
  "grouped": ("step --stage=2 --batch_size=8 --captions_per_image=2 --caption_length=48", ""),
  "prompts": ("step --stage=2 --batch_size=8 --prompt_length=4 --prompt_depth=12", ""),
  "encode": ("encode", "encode.py"),
  "bfloat16_step2": ("step --stage=2 --batch_size=8 --precision=bfloat16", "step.py --batch-size 8 --autocast"),
  "bfloat16_step1": ("step --stage=1 --batch_size=8 --precision=bfloat16", ""),
  "bfloat16_encode": ("encode --precision=bfloat16", ""),
  "metrics_rstp": ("metrics --split=rstp", "metrics.py --split rstp --repeat 3"),
  "metrics_cuhk": ("metrics --split=cuhk", "metrics.py --split cuhk --repeat 3"),
  "metrics_icfg": ("metrics --split=icfg --repeat=1", "metrics.py --split icfg"),
  "startup": ("startup", ""),
  "overlap": ("overlap", ""),
  "loader": ("loader --rounds=1 --json=FILE", ""),
}
# Benchmarks that time the reference only on a CPU with bfloat16 products: others emulate them, far more slowly.
NEEDS_BFLOAT16 = ("bfloat16_step2",)
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def parse(arguments):
  """Returns the validated arguments.

  Raises:
    ValueError, FileNotFoundError: an argument is invalid.
  """
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--peer", type=pathlib.Path, help="checkout of the reference (github.com/anosorae/IRRA)")
  parser.add_argument("--peer_python", type=pathlib.Path, default=ROOT / ".venv-peer/bin/python", help="its Python")
  parser.add_argument("--rounds", type=int, default=1)
  parser.add_argument("--only", default="", help=f"some of {','.join(COMMANDS)}; metrics, bfloat16: all of those")
  parser.add_argument("--json", type=pathlib.Path, help="file for all measurements")
  parser.add_argument("--baseline", type=pathlib.Path, help="file that an earlier run wrote with --json")
  args = parser.parse_args(arguments)
  args.only = _chosen(args.only)
  if args.rounds < 1:
    raise ValueError(f"--rounds={args.rounds} measures nothing; give at least 1")
  if args.peer and not (args.peer / "model" / "clip_model.py").is_file():
    raise FileNotFoundError(
      f"--peer={args.peer} is no checkout of the reference: it has no model/clip_model.py; give a folder with "
      f"github.com/anosorae/IRRA"
    )
  if args.peer and not args.peer_python.is_file():
    raise FileNotFoundError(
      f"--peer_python={args.peer_python} does not exist; give the Python of an environment with "
      f"benchmarks/peer/requirements.txt, which `make bench PEER={args.peer}` makes"
    )
  if args.json and not args.json.absolute().parent.is_dir():
    raise FileNotFoundError(f"--json={args.json}: there is no folder {args.json.parent}")
  args.baseline = args.baseline and read_run(args.baseline)
  return args


def _chosen(only):
  """Returns the benchmarks that --only names, in the order in which they are run."""
  requested = set(filter(None, only.split(",")))
  unknown = requested - set(COMMANDS) - {name.partition("_")[0] for name in COMMANDS}
  if unknown:
    raise ValueError(
      f"--only={min(unknown)} is no benchmark; there are {', '.join(COMMANDS)}; metrics and bfloat16 name groups"
    )
  return [name for name in COMMANDS if not requested or name in requested or name.partition("_")[0] in requested]


def read_run(file):
  """Returns the run that `--json` wrote to a file.

  Raises:
    ValueError, FileNotFoundError: there is no such file, or it is not a run.
  """
  if not file.is_file():
    raise FileNotFoundError(f"--baseline={file} does not exist; an earlier run writes it with --json={file}")
  try:
    run = json.loads(file.read_text())
    sides = [side for results in run["rounds"] for both in results.values() for side in both.values()]
    if sides and all(isinstance(side, dict) for side in sides):
      return run
  except (ValueError, TypeError, LookupError, AttributeError):
    pass
  raise ValueError(f"--baseline={file} is not what a run writes with --json; give such a file")


def execute(name, side, args):
  """Returns the JSON that a benchmark printed or wrote; RuntimeError with its last line of output if it failed."""
  words = COMMANDS[name][side == "peer"].split()
  environment = {**os.environ, **ENVIRONMENT}
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "results.json"
    if side == "peer":
      command, cwd = [args.peer_python.absolute(), *words], PEER
      environment["IRRA_DIR"] = str(args.peer.absolute())
    else:
      words = [word.replace("FILE", str(file)) for word in words]
      command, cwd = [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]], ROOT
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
      reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
      raise RuntimeError(f"failed with status {done.returncode}: {reason}")
    return json.loads(file.read_text() if file.exists() else done.stdout.splitlines()[-1])


def sides_of(name, args):
  """Returns the sides of a benchmark that are run, the reference first."""
  has_reference = args.peer and COMMANDS[name][1] and (name not in NEEDS_BFLOAT16 or multiplies_bfloat16())
  return ["peer", "ours"] if has_reference else ["ours"]


@functools.cache
def multiplies_bfloat16():
  """Whether this CPU has instructions for bfloat16 products."""
  file = pathlib.Path("/proc/cpuinfo")
  return file.exists() and "avx512_bf16" in file.read_text()


def measure(args):
  """Yields a round's results as soon as it is done."""
  for turn in range(args.rounds):
    results = {}
    for name in args.only:
      results[name] = {}
      # The side that runs first alternates between rounds.
      for side in sides_of(name, args)[:: -1 if turn % 2 else 1]:
        print(f"round {turn + 1} of {args.rounds}, {name}, {side} ...", end="", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
          results[name][side] = execute(name, side, args)
          print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        except RuntimeError as error:
          print(f" {error}", file=sys.stderr, flush=True)
    yield results


def machine(args):
  """Returns a description of the machine and the library versions."""
  cpu = platform.processor()
  if os.path.exists("/proc/cpuinfo"):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
  versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}}
  if args.peer:
    command = [args.peer_python, "-c", "import torch; print(torch.__version__)"]
    versions["torch"] = subprocess.run(command, capture_output=True, text=True).stdout.strip()
  return {"cores": len(os.sched_getaffinity(0)), "cpu": cpu, "versions": versions, "load_1min": os.getloadavg()[0]}


def main(arguments=None):
  """Runs the requested benchmarks and returns the exit status: 1 if a benchmark failed, 2 for bad input."""
  try:
    args = parse(arguments)
  except (ValueError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  run = {"machine": machine(args), "rounds": []}
  for results in measure(args):
    run["rounds"].append(results)
    if args.json:
      args.json.write_text(json.dumps(run, indent=2) + "\n")
  print(report.table(run))
  on = run["machine"]
  versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
  print(f"{on['cores']} cores of {on['cpu']}, load {on['load_1min']:.1f}; {versions}")
  if args.baseline:
    by = "by the best matrix rate" if report.is_scaled(run, args.baseline) else "not scaled, as a round has no step"
    print(f"since the baseline, {by}:", *(report.changes(run, args.baseline) or ["no change beyond noise"]), sep="\n")
  complete = all(len(both) == len(sides_of(name, args)) for results in run["rounds"] for name, both in results.items())
  return 0 if complete else 1


if __name__ == "__main__":
  sys.exit(main())
