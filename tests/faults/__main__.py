"""Injects faults into small runs and prints the results.

python -m tests.faults                            20 kills, every storage fault, 2,000 monitored steps
python -m tests.faults --kills=200 --seed=1       more kills
python -m tests.faults --only=kills --json=FILE   one part, and the results as JSON
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

from tests import small_disk
from tests.faults import growth, kills, scenario, storage

PARTS = ("kills", "storage", "growth")
# Ratio of the last to the second quarter above which a resource counts as growing; allocators return memory late.
_MAX_RATIO = 1.02


def main():
  options = _parse()
  folder = pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
  parts = {"kills": _kills, "storage": _storage, "growth": _growth}
  results, faults = {}, []
  for name in options.only:
    start = time.monotonic()
    (folder / name).mkdir()
    results[name], rows, wrong = parts[name](options, folder / name)
    faults += wrong
    print(f"\n{name}, {time.monotonic() - start:.0f} s\n" + "\n".join(rows), flush=True)
  if options.json:
    options.json.write_text(json.dumps(results, indent=1) + "\n")
  if faults:
    print(f"\n{len(faults)} faults; the files are in {folder}", *faults, sep="\n")
    sys.exit(1)
  shutil.rmtree(folder)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument(
    "--only", type=lambda text: text.split(","), default=PARTS, help="parts to run, of " + ",".join(PARTS)
  )
  parser.add_argument("--kills", type=int, default=20, help="number of kills")
  parser.add_argument("--seed", type=int, default=0, help="random seed of the kills")
  parser.add_argument("--jobs", type=int, default=2, help="commands that run at the same time")
  parser.add_argument("--steps", type=int, default=2000, help="number of steps of the run that is monitored for growth")
  parser.add_argument("--match", default="", help="only storage faults whose name contains this text")
  parser.add_argument("--json", type=pathlib.Path, help="file for the results")
  options = parser.parse_args()
  unknown = set(options.only) - set(PARTS)
  if unknown:
    parser.error(f"--only={','.join(sorted(unknown))} is not one of {','.join(PARTS)}")
  return options


@functools.cache
def _uninterrupted(folder):
  """Returns (Scenario, workdir of its uninterrupted run), created once."""
  run = scenario.make(folder / "made")
  _progress("the uninterrupted run")
  scenario.succeed(*run.main(folder / "uninterrupted"))
  return run, folder / "uninterrupted"


def _progress(text):
  print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _kills(options, folder):
  """Returns (JSON data, lines of the table, faults)."""
  killer = kills.Killer(folder, *_uninterrupted(folder.parent))
  commands = kills.sample_commands(options.kills, options.seed)

  def kill(i):
    outcome = killer.kill(commands[i], f"command{i}")
    _progress(f"kills: command {i + 1}/{len(commands)}, {_describe(outcome)}")
    return outcome

  with concurrent.futures.ThreadPoolExecutor(options.jobs) as threads:
    outcomes = list(threads.map(kill, range(len(commands))))
  landed = [(moment.phase, where) for o in outcomes for moment, where in zip(o.moments, o.landed, strict=True)]
  rows = ["| phase | kills | landed in |", "|---|---|---|"]
  for phase in dict.fromkeys(phase for phase, _ in sorted(landed)):
    counts = collections.Counter(where for other, where in landed if other == phase)
    listed = "; ".join(f"{where} ({count})" if count > 1 else where for where, count in counts.most_common())
    rows.append(f"| {phase} | {counts.total() - counts['ended before']} | {listed} |")
  faults = [_describe(outcome) for outcome in outcomes if outcome.faults]
  num_killed = sum(where != "ended before" for _, where in landed)
  rows.append(f"\n{len(outcomes) - len(faults)} of {len(outcomes)} commands ended equal after {num_killed} kills")
  return [dataclasses.asdict(outcome) for outcome in outcomes], rows, faults


def _describe(outcome):
  kills = "; ".join(f"{m.phase}: {where}" for m, where in zip(outcome.moments, outcome.landed, strict=True))
  return f"killed at {kills}: {'; '.join(outcome.faults) or 'ended equal'} ({outcome.seconds:.0f} s)"


def _storage(options, folder):
  """Returns (JSON data, lines of the table, faults)."""
  cases = [case for case in storage.make_cases() if options.match in f"{case.name}, {case.command}"]
  if not small_disk.can_mount():
    _progress(f"storage: {sum(case.needs_mount for case in cases)} cases need a user who may mount; not run")
    cases = [case for case in cases if not case.needs_mount]
  injector = storage.Storage(folder, *_uninterrupted(folder.parent))

  def inject(i):
    outcome = injector.inject(cases[i], f"case{i}")
    wrong = "".join(f"; {fault}" for fault in outcome.faults)
    _progress(
      f"storage {i + 1}/{len(cases)}, {outcome.case}, {outcome.command}: {outcome.status}, {outcome.line}{wrong}"
    )
    return outcome

  with concurrent.futures.ThreadPoolExecutor(options.jobs) as threads:
    outcomes = list(threads.map(inject, range(len(cases))))
  rows = ["| fault | command | status | line | as expected |", "|---|---|---|---|---|"]
  for o in outcomes:
    line = re.sub(rf"{folder}/case\d+/(disk/)?", "", o.line)
    rows.append(f"| {o.case} | {o.command} | {o.status} | `{line}` | {'no' if o.faults else 'yes'} |")
  faults = [f"{o.case}, {o.command}: {fault}" for o in outcomes for fault in o.faults]
  return [dataclasses.asdict(outcome) for outcome in outcomes], rows, faults


def _growth(options, folder):
  """Returns (JSON data, lines of the table, faults)."""
  run = scenario.make(folder / "made", num_train=40)
  num_steps = options.steps // run.epoch_steps * run.epoch_steps
  _progress(f"growth: {num_steps} steps")
  samples = growth.watch(run, folder / "run", num_steps)
  quarters = growth.quarters(samples, num_steps)
  rows = ["| steps from | MiB resident | file descriptors | threads |", "|---|---|---|---|"]
  rows += [f"| {q.step} | {q.resident_bytes / 2**20:.0f} | {q.descriptors} | {q.threads} |" for q in quarters]
  faults = [
    f"growth: {field} from {getattr(quarters[1], field):,} to {getattr(quarters[3], field):,} in {num_steps} steps"
    for field in growth.FIELDS
    if getattr(quarters[3], field) > _MAX_RATIO * getattr(quarters[1], field)
  ]
  return [dataclasses.asdict(sample) for sample in samples], rows, faults


if __name__ == "__main__":
  main()
