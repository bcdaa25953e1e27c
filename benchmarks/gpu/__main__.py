"""Runs the checks and measurements of benchmarks/gpu on this machine's GPU, within a time budget.

  python -m benchmarks.gpu --to=gpu_results
  python -m benchmarks.gpu --to=gpu_results2 --skip=gpu_results/results.json --bring=gpu_results     continues it
  python -m benchmarks.gpu --to=gpu_results --only=speed --seconds=400 --peer=IRRA
  python -m benchmarks.gpu --to=short --short     everything once with the tiny variant, also on a CPU

Each measurement is written to TO/results.json as soon as it is done; those that do not fit into the budget are skipped.
TO/cache-*.tar holds compiled programs and autotuning results, which --bring unpacks to save time in a later run.
`python -m benchmarks.gpu.table TO/results.json` prints the tables of docs/gpu.md.
"""

import argparse
import pathlib
import signal
import sys
import time

from benchmarks.gpu import caches, measuring, plan, results


def parse(arguments):
  """Returns the validated arguments.

  Raises:
    ValueError, FileNotFoundError: an argument is invalid.
  """
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--to", type=pathlib.Path, required=True, help="folder for results.json and the caches")
  parser.add_argument("--only", default="", help=f"some of {','.join(plan.PARTS)}")
  parser.add_argument("--skip", help="results.json of an earlier run, to be continued")
  parser.add_argument("--bring", type=pathlib.Path, help="folder with the cache-*.tar of an earlier run")
  parser.add_argument("--seconds", type=float, help="total time, divided in proportion to the budgets of the parts")
  parser.add_argument("--peer", type=pathlib.Path, help="checkout of the reference (github.com/anosorae/IRRA)")
  parser.add_argument(
    "--peer_python", default=sys.executable, help="Python with torch and the reference's other requirements"
  )
  parser.add_argument("--short", action="store_true", help="everything once with the tiny variant; also on a CPU")
  parser.add_argument("--archives", type=int, default=5, help="maximum number of cache-*.tar files")
  parser.add_argument("--archive_mib", type=int, default=15, help="maximum size of each")
  args = parser.parse_args(arguments)
  args.only = [part for part in args.only.split(",") if part] or list(plan.PARTS)
  if unknown := sorted(set(args.only) - set(plan.PARTS)):
    raise ValueError(f"--only={unknown[0]} is no part; the parts are {', '.join(plan.PARTS)}")
  if args.seconds is not None and args.seconds <= 0:
    raise ValueError(f"--seconds={args.seconds} leaves no time; give a number above 0")
  if args.peer and not (args.peer / "model" / "clip_model.py").is_file():
    raise FileNotFoundError(
      f"--peer={args.peer} is no checkout of the reference: it has no model/clip_model.py; give a folder with "
      f"github.com/anosorae/IRRA"
    )
  if args.bring and not args.bring.is_dir():
    raise FileNotFoundError(f"--bring={args.bring} is no folder; give the --to of an earlier run")
  args.former = results.read(args.skip) if args.skip else None
  return args


def budgets(args):
  """Returns {part: seconds} for the selected parts."""
  own = {part: float(plan.BUDGETS[part]) for part in args.only}
  factor = args.seconds / sum(own.values()) if args.seconds else 1.0
  return {part: seconds * factor for part, seconds in own.items()}


def run(args, folder):
  """Runs the requested measurements and returns the Results.

  Args:
    args: from `parse`.
    folder: for the caches during the run.

  Raises:
    ValueError: there is no GPU, or a different one than in --skip.
  """
  wanted = [one for one in (plan.SHORT if args.short else plan.FULL) if one.part in args.only]
  found = results.Results(args.to / "results.json", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
  found.start([one.key for one in wanted], args.former)
  left = budgets(args)
  left["ours"] = sum(left.values()) - left.get("peer", 0)
  for part, group in (plan.short_groups if args.short else plan.groups)(wanted):
    missing = found.missing([one.key for one in group])
    group = [one for one in group if one.key in missing]
    if not group:
      continue
    began = time.monotonic()
    measure = measuring.peer if part == "peer" else measuring.ours
    measure(args, group, found, folder, began + left[part])
    left[part] -= time.monotonic() - began
  return found


def main(arguments=None):
  """Runs the requested measurements and returns the exit status: 1 if a check failed, 2 for bad input or no GPU."""
  # On SIGTERM it still ends its child processes and writes the caches.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    args = parse(arguments)
    args.to.mkdir(parents=True, exist_ok=True)
    with caches.folder() as folder:
      if args.bring:
        caches.restore(args.bring, folder)
      try:
        found = run(args, folder)
      finally:
        written, left_out = caches.save(folder, args.to, num_archives=args.archives, archive_mib=args.archive_mib)
        print(f"caches: {written / 2**20:.0f} MiB written, {left_out / 2**20:.0f} left out", file=sys.stderr)
  except (ValueError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  counts = {status: sum(result["status"] == status for result in found.rows.values()) for status in results.STATUSES}
  wrong = [key for key, result in found.rows.items() if result["status"] == results.FAILED or result.get("ok") is False]
  print(", ".join(f"{count} {status}" for status, count in counts.items()), "in", found.file)
  for key in wrong:
    result = found.rows[key]
    print(f"failed: {key}: {result.get('reason') or result.get('detail') or result}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
