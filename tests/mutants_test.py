"""Which changes the mutation tests make, and the counts of their summary."""

import ast
import json
import types

import pytest

from tests.mutants import __main__ as command
from tests.mutants import mutations, report


def changes(source):
  return [(mutant.before, mutant.after) for mutant in mutations.find_mutants("m.py", source)]


@pytest.mark.parametrize(
  ("source", "expected"),
  [
    ("x = a < b", [("a < b", "a <= b"), ("a < b", "a > b")]),
    ("x = a @ b + c", [("a @ b + c", "a @ b - c")]),
    ("x = not a", [("not a", "a")]),
    ("x = a and 3", [("a and 3", "a or 3"), ("3", "4"), ("3", "2")]),
    ("x = f(a, b, k=True)", [("f(a, b, k=True)", "f(b, a, k=True)"), ("k=True", "left out"), ("True", "False")]),
    ("def f(k=0.5): pass", [("0.5", "1.0")]),
    ("def f():\n  g()\n  return x", [("g()", "pass"), ("return x", "return None")]),
    ("x = max(a)", [("max", "min")]),
    ("x = [a, 'b']", [("[a, 'b']", "['b']"), ("[a, 'b']", "[a]")]),
    ("x = {**a, **b}", [("{**a, **b}", "{**b}"), ("{**a, **b}", "{**a}")]),
    ("x = [a for a in b if c]", [("c", "not (c)")]),
    ("if a: b = 1", [("a", "not (a)"), ("1", "2")]),
    ("x = f(x)", [("x = f(x)", "pass")]),
    ("x += 1", [("x += 1", "pass"), ("x += 1", "x -= 1"), ("1", "2")]),
    ("log_line(f'{x + 1}')", [("log_line(f'{x + 1}')", "pass")]),
    ("raise E(f'{n + 1} < 3')", [("raise E(f'{n + 1} < 3')", "pass")]),
  ],
)
def test_source_is_mutated_in_these_ways(source, expected):
  assert changes(source) == expected


@pytest.mark.parametrize(
  "source",
  ["'''x < 1'''", "x: tuple[int, 3] = y", "def f(x: int | None) -> a < b: pass", "x = 'a' + b", "x = f'{y + 1}'"],
)
def test_strings_messages_and_annotations_are_not_changed(source):
  assert changes(source) == []


def test_a_mutant_is_named_by_its_function_and_change_and_has_the_whole_source():
  source = "class A:\n  def f(self):\n    # é\n    return g(1, 1)\n"
  named = {mutant.key: mutant.source for mutant in mutations.find_mutants("m.py", source)}
  assert named["m.py:A.f: 1 -> 2"] == source.replace("1, 1", "2, 1")
  assert named["m.py:A.f: 1 -> 2 #1"] == source.replace("1, 1", "1, 2")


def test_every_mutant_of_the_table_is_valid_python_and_has_a_unique_name():
  chosen = command.choose()
  mutants = [mutant for found in chosen.values() for mutant in found]
  assert len({mutant.key for mutant in mutants}) == len(mutants)
  assert sum(len(chosen[name]) for name in command.table.SAMPLED) == command.table.SAMPLE_SIZE
  for mutant in mutants[::10]:
    ast.parse(mutant.source)


def test_every_mutant_that_is_called_harmless_exists():
  harmless = report.read_harmless()
  modules = {key.partition(":")[0] for key in harmless}
  found = {mutant.key for name in modules for mutant in mutations.find_mutants(name, (command.ROOT / name).read_text())}
  assert set(harmless) - found == set()


def test_results_are_stored_by_short_names_and_newer_ones_replace_them(tmp_path, monkeypatch):
  monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
  report.RESULTS.write_text(json.dumps({report.short(key): "passed" for key in ("a", "b", "gone")}))
  (tmp_path / "lines").write_text('{"key": "b", "status": "failed"}\n{"key": "c", "status": "too slow"}\n{"key": "tru')
  mutants = {"m": [types.SimpleNamespace(key=key) for key in "abcd"]}
  results = command.read_results(tmp_path / "lines", mutants)
  statuses = {key: record["status"] for key, record in results.items()}
  assert statuses == {"a": "passed", "b": "failed", "c": "too slow"}
  report.store(mutants, results)
  assert report.read_stored() == {report.short(key): status for key, status in statuses.items()}


def test_the_summary_counts_run_detected_and_harmless_mutants():
  mutants = {"m": [types.SimpleNamespace(key=key) for key in "abcd"]}
  results = {
    key: {"key": key, "status": status} for key, status in zip("abc", ("failed", "passed", "passed"), strict=True)
  }
  counts, open_ones, stale = report.summarise(mutants, results, {"b": "no harm", "a": "was"})
  assert counts == {"m": {"mutants": 4, "run": 3, "detected": 1, "harmless": 1}}
  assert (open_ones, stale) == (["c"], ["a"])
