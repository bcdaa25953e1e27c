"""Fuzzes everything that reads users' files: only UserError, and at most 10 s of CPU time and 1 GiB per input.

  python -m tests.fuzz --seconds=60 [--targets=custom.csv,safetensors] [--engine=atheris|changes] [--seed=0] [--to=DIR]

The seconds are divided among the targets. Each runs in a separate process, which is restarted if an input kills it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from tests.fuzz.targets import TARGETS

# Timeout for an input that cannot be interrupted; includes the time to start a process on a busy machine.
_GRACE_S = 300


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--seconds", type=int, default=60)
  parser.add_argument("--targets", default=",".join(TARGETS))
  parser.add_argument("--engine", choices=("atheris", "changes"), default="changes")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("fuzz"))
  options = parser.parse_args()
  names = options.targets.split(",")
  for name in names:
    if name not in TARGETS:
      parser.error(f"there is no target {name}; they are {', '.join(TARGETS)}")
  rows = [fuzz(name, max(1, options.seconds // len(names)), options) for name in names]
  print(f"{'target':<18} {'inputs':>9} {'minutes':>8} {'faults':>7}")
  for name, (num_inputs, seconds, faults) in zip(names, rows, strict=True):
    print(f"{name:<18} {num_inputs:>9,} {seconds / 60:>8.1f} {len(faults):>7}")
  for name, (_, _, faults) in zip(names, rows, strict=True):
    for fault, file in faults.items():
      print(f"{name}: {fault}: {file}")
  return int(any(faults for _, _, faults in rows))


def fuzz(name, seconds, options):
  """Returns (inputs, seconds, {fault: file}) of one target."""
  folder = options.to / name
  folder.mkdir(parents=True, exist_ok=True)
  num_inputs, spent, faults, seed = 0, 0.0, {}, options.seed
  while spent < seconds:
    (folder / "found.json").unlink(missing_ok=True)
    left, start = int(seconds - spent) + 1, time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(left), str(seed), options.engine, str(folder)]
    with open(folder / "log", "wb") as log:
      try:
        status = subprocess.run(
          command, stdout=log, stderr=log, env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=left + _GRACE_S,
          check=False,
        ).returncode  # fmt: skip
      except subprocess.TimeoutExpired:
        status = "no end"
    file = folder / "found.json"
    found = json.loads(file.read_text()) if file.is_file() else {"inputs": 0, "seconds": 0, "faults": {}}
    num_inputs, faults = num_inputs + found["inputs"], found["faults"] | faults
    # atheris stops after its seconds by itself and also exits with 0.
    spent += left if status == 0 else found["seconds"]
    if status != 0:
      current = folder / "current"
      killer = folder / f"killer{seed}"
      if current.is_file():
        killer.write_bytes(current.read_bytes())
      faults |= {f"the process ended with {status}, see {folder}/log": str(killer)}
      spent = max(spent, 1.0) + time.monotonic() - start  # so that a target that never starts does not loop forever
    seed += 1
  return num_inputs, spent, faults


if __name__ == "__main__":
  sys.exit(main())
