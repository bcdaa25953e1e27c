"""Summarises the results: how many mutants of each file the tests detected, and which others are harmless."""

import hashlib
import json
import pathlib

# {key of a mutant: why it is harmless}.
HARMLESS = pathlib.Path(__file__).parent / "harmless.json"
# {short name of a mutant: status of its tests}.
RESULTS = pathlib.Path(__file__).parent / "results.json"


def read_harmless():
  """Returns {key: reason}."""
  return json.loads(HARMLESS.read_text())


def short(key):
  """Returns a digest of a mutant's key, which names it in results.json."""
  return hashlib.sha256(key.encode()).hexdigest()[:12]


def read_stored():
  """Returns {short name: status} of the results in the repository."""
  return json.loads(RESULTS.read_text())


def store(mutants, results):
  """Writes the results of mutants to results.json, and drops those that name none of them."""
  keys = [mutant.key for found in mutants.values() for mutant in found if mutant.key in results]
  RESULTS.write_text(json.dumps({short(key): results[key]["status"] for key in keys}, indent=0, sort_keys=True) + "\n")


def summarise(mutants, results, harmless):
  """Returns ({file: counts}, [undetected keys without a reason], [keys with a reason that were detected]).

  Args:
    mutants: {file: Mutants}.
    results: {key: record}.
    harmless: {key: reason}.
  """
  counts, open_ones, survivors = {}, [], set()
  for name, found in mutants.items():
    records = [results[mutant.key] for mutant in found if mutant.key in results]
    alive = [record["key"] for record in records if record["status"] == "passed"]
    survivors |= set(alive)
    open_ones += [key for key in alive if key not in harmless]
    counts[name] = {
      "mutants": len(found),
      "run": len(records),
      "detected": len(records) - len(alive),
      "harmless": sum(key in harmless for key in alive),
    }
  ran = {mutant.key for found in mutants.values() for mutant in found if mutant.key in results}
  return counts, open_ones, sorted((set(harmless) & ran) - survivors)


def show(mutants, results):
  """Prints the summary."""
  harmless = read_harmless()
  counts, open_ones, stale = summarise(mutants, results, harmless)
  print(f"{'file':20} {'mutants':>8} {'run':>5} {'detected':>8} {'harmless':>9} {'detected of run':>15}")
  for name, count in counts.items():
    part = f"{count['detected'] / count['run']:.1%}" if count["run"] else "-"
    print(f"{name:20} {count['mutants']:8} {count['run']:5} {count['detected']:8} {count['harmless']:9} {part:>15}")
  for title, keys in (("no test detects, and no reason is given", open_ones), ("detected, but called harmless", stale)):
    if keys:
      print(f"{title}:", *keys, sep="\n  ")
