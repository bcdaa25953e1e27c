"""Brings faults upon small runs and prints what came of them.

python -m tests.faults                            20 kills, every storage fault, 2,000 steps watched
python -m tests.faults --kills=200 --seed=1       more of them
python -m tests.faults --only=kills --json=FILE   one part, and the results as JSON
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import pathlib
import shutil
import sys
import tempfile
import time

from tests.faults import growth, kills, scenario

PARTS = ("kills", "growth")
# Of what is held once warm, so much more at the end is still no growth: an allocator that returns memory late.
_ALLOWED = 1.02


def main():
  options = _parse()
  folder = pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
  parts = {"kills": _kills, "growth": _growth}
  results, faults = {}, []
  for name in options.only:
    began = time.monotonic()
    results[name], rows, wrong = parts[name](options, folder / name)
    faults += wrong
    print(f"\n{name}, {time.monotonic() - began:.0f} s\n" + "\n".join(rows), flush=True)
  if options.json:
    options.json.write_text(json.dumps(results, indent=1) + "\n")
  if faults:
    print(f"\n{len(faults)} faults; the files are in {folder}", *faults, sep="\n")
    sys.exit(1)
  shutil.rmtree(folder)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help="of " + ",".join(PARTS))
  parser.add_argument("--kills", type=int, default=20, help="how many moments")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--jobs", type=int, default=2, help="kills at a time")
  parser.add_argument("--steps", type=int, default=2000, help="that are watched for growth")
  parser.add_argument("--json", type=pathlib.Path, help="file for the results")
  options = parser.parse_args()
  unknown = set(options.only) - set(PARTS)
  if unknown:
    parser.error(f"--only={','.join(sorted(unknown))} is not one of {','.join(PARTS)}")
  return options


def _progress(text):
  print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _kills(options, folder):
  """Returns (JSON data, lines of the table, faults)."""
  folder.mkdir(parents=True)
  _progress("kills: the uninterrupted run")
  killer = kills.Killer(folder, scenario.make(folder / "made"))
  moments = kills.draw_moments(options.kills, options.seed)

  def kill(i):
    outcome = killer.kill(moments[i], f"kill{i}")
    _progress(f"kill {i + 1}/{len(moments)}, {_story(outcome)}")
    return outcome

  with concurrent.futures.ThreadPoolExecutor(options.jobs) as threads:
    outcomes = list(threads.map(kill, range(len(moments))))
  rows = ["| phase | kills | landed in | ended equal |", "|---|---|---|---|"]
  for phase in dict.fromkeys(moment.phase for moment in moments):
    of_phase = [outcome for outcome in outcomes if outcome.moment.phase == phase]
    landed = collections.Counter(where for outcome in of_phase for where in outcome.landed)
    places = "; ".join(f"{where} ({count})" if count > 1 else where for where, count in landed.most_common())
    num_killed = sum(landed.values()) - landed["ended before"]
    rows.append(f"| {phase} | {num_killed} | {places} | {sum(not o.faults for o in of_phase)}/{len(of_phase)} |")
  faults = [f"{_story(outcome)}" for outcome in outcomes if outcome.faults]
  return [dataclasses.asdict(outcome) for outcome in outcomes], rows, faults


def _story(outcome):
  end = "; ".join(outcome.faults) or "ended equal"
  return f"{outcome.moment.phase}: killed at {', then '.join(outcome.landed)}: {end} ({outcome.seconds:.0f} s)"


def _growth(options, folder):
  """Returns (JSON data, lines of the table, faults)."""
  run = scenario.make(folder / "made", num_train=40)
  num_steps = options.steps // run.epoch_steps * run.epoch_steps
  _progress(f"growth: {num_steps} steps")
  samples = growth.watch(run, folder / "run", num_steps)
  rows = ["| held | once warm | at the end |", "|---|---|---|"]
  faults = []
  for field, (warm, end) in growth.growth(samples, num_steps).items():
    shown = [f"{value / 2**20:.1f} MiB" if field == "resident_bytes" else f"{value:g}" for value in (warm, end)]
    rows.append(f"| {field} | {shown[0]} | {shown[1]} |")
    if end > _ALLOWED * warm:
      faults.append(f"growth: {field} from {shown[0]} to {shown[1]} in {num_steps} steps")
  return [dataclasses.asdict(sample) for sample in samples], rows, faults


if __name__ == "__main__":
  main()
