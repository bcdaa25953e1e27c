"""Applies small changes to the code, one at a time, and counts how many of them the tests detect.

  python -m tests.mutants                          continues after the last result
  python -m tests.mutants --only=losses,metrics    runs the mutants of these files
  python -m tests.mutants --again=passed           repeats undetected mutants that are not known to be harmless
  python -m tests.mutants --report                 prints the summary; runs nothing
  python -m tests.mutants --report --save          also writes all results to results.json, for the repository

Each mutant is written to a copy of the repository, in which the tests that table.py lists for its file run until one
fails, in a fork of a process that has imported the libraries. Each result is a line of the results file. Mutants that
have a result there or in results.json are not run again.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from tests.mutants import forks, mutations, report, table

ROOT = pathlib.Path(__file__).parents[2]
# The time limit is SLOWER times the time without a mutant plus SPARE_S seconds, because the machine may be busy.
SLOWER, SPARE_S = 4, 60


def parse(arguments=None):
  """Returns the parsed arguments."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", default="", help="files, such as losses,models/prompts; default: all")
  parser.add_argument("--again", default="", help="statuses to repeat: passed, too slow, failed")
  parser.add_argument(
    "--results", type=pathlib.Path, default=ROOT / "mutants.jsonl", help="file to which results are appended"
  )
  parser.add_argument("--report", action="store_true", help="only print the summary")
  parser.add_argument("--save", action="store_true", help=f"write all results to {report.RESULTS.name}")
  parser.add_argument("--limit", type=int, default=0, help="number of mutants after which to stop")
  parser.add_argument("--fresh", action="store_true", help="run each in a new process, to compare with forks")
  return parser.parse_args(arguments)


def choose(only=()):
  """Returns {file: its Mutants}, sampled for the files that the table samples."""
  found = {}
  for name in [*table.WHOLE, *table.PROMPTED, *table.SAMPLED]:
    module = f"tireid_jax/{name}.py"
    found[name] = mutations.find_mutants(module, (ROOT / module).read_text())
  for name, (functions, _) in table.PROMPTED.items():
    found[name] = [mutant for mutant in found[name] if mutant.where.startswith(functions)]
  # Those with the lowest digests, so that a change of the code does not change the rest of the sample.
  pool = [mutant.key for name in table.SAMPLED for mutant in found[name]]
  sample = set(
    sorted(pool, key=lambda key: hashlib.sha256(f"{table.SEED} {key}".encode()).digest())[: table.SAMPLE_SIZE]
  )
  for name in table.SAMPLED:
    found[name] = [mutant for mutant in found[name] if mutant.key in sample]
  # In random order, so that the mutants run so far are always a random sample of the file.
  return {
    name: sorted(mutants, key=lambda mutant: _digest(mutant.key))
    for name, mutants in found.items()
    if not only or name in only
  }


def _digest(key):
  return hashlib.sha256(f"{table.SEED} {key}".encode()).digest()


def read_results(path, mutants):
  """Returns {key: its newest record}; a truncated last line is skipped.

  Args:
    path: the results file.
    mutants: {file: Mutants}, whose results in results.json are read, too.
  """
  stored = report.read_stored()
  records = {
    mutant.key: {"key": mutant.key, "status": stored[report.short(mutant.key)]}
    for found in mutants.values()
    for mutant in found
    if report.short(mutant.key) in stored
  }
  for line in path.read_text().splitlines() if path.is_file() else []:
    try:
      record = json.loads(line)
    except ValueError:
      continue
    records[record["key"]] = record
  return records


def test_files(name):
  """Returns the paths of the existing test files for a source file."""
  tests = {**table.WHOLE, **table.SAMPLED, **{key: value[1] for key, value in table.PROMPTED.items()}}[name]
  return [path for path in (f"tests/{test}.py" for test in tests) if (ROOT / path).is_file()]


def run(options, mutants):
  """Runs the mutants that have no result yet and appends their results to the results file."""
  known = read_results(options.results, mutants)
  again = [status.strip() for status in options.again.split(",") if status]
  harmless = report.read_harmless()

  def is_again(key):
    return known[key]["status"] in again and key not in harmless

  waiting = {
    name: [mutant for mutant in found if mutant.key not in known or is_again(mutant.key)]
    for name, found in mutants.items()
  }
  left = options.limit or sum(map(len, waiting.values()))
  with tempfile.TemporaryDirectory(prefix="mutants_") as folder, options.results.open("a") as results:
    copy = pathlib.Path(folder) / "copy"
    listed = subprocess.run(
      ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    forks.copy_files(ROOT, [file for file in listed.stdout.decode().splitlines() if (ROOT / file).exists()], copy)
    tests = forks.Tests(copy, pathlib.Path(folder) / "compiled", forks=not options.fresh)
    for name, found in waiting.items():
      found = found[:left]
      left -= len(found)
      if found:
        _run_file(tests, copy, name, found, results)


def _run_file(tests, copy, name, mutants, results):
  """Runs the mutants of one file, after checking that its tests pass without a mutant."""
  files = test_files(name)
  tests.run(files, 3600, writes_cache=True)
  baseline = tests.run(files, 3600)
  if baseline.status != "passed":
    raise SystemExit(f"{name}: without a mutant, {baseline.by or 'the tests'} {baseline.status}")
  print(f"{name}: {len(mutants)} mutants, {baseline.seconds:.0f} s without one", flush=True)
  target = copy / mutants[0].module
  backup = target.with_suffix(".kept")
  shutil.copy2(target, backup)
  for mutant in mutants:
    shutil.rmtree(target.parent / "__pycache__", ignore_errors=True)
    target.write_text(mutant.source)
    outcome = tests.run(files, SLOWER * baseline.seconds + SPARE_S)
    record = {
      "key": mutant.key, "file": name, "line": mutant.line, "status": outcome.status, "by": outcome.by,
      "seconds": round(outcome.seconds, 1),
    }  # fmt: skip
    results.write(json.dumps(record) + "\n")
    results.flush()
    print(f"  {outcome.status} {outcome.seconds:.1f} s  {mutant.key}", flush=True)
  backup.replace(target)


def main():
  options = parse()
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  mutants = choose([name for name in options.only.split(",") if name])
  if not mutants:
    raise SystemExit(f"--only={options.only} is no file of tests/mutants/table.py")
  if not options.report:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
      run(options, mutants)
    except KeyboardInterrupt:
      print("stopped; the same command goes on")
  report.show(mutants, read_results(options.results, mutants))
  if options.save:
    every = choose()
    report.store(every, read_results(options.results, every))


if __name__ == "__main__":
  main()
