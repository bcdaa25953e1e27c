"""The README and docs/study.md have the numbers of the CSV files in docs/study."""

import csv
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
ROWS = ("two stages", "direct fine-tuning", "random frozen prompts", "after stage 1", "zero-shot")

# Of the tables with one seed: (table, rows, metric, how docs/study.md quotes their values).
LONG, REVERSED = "steps of both stages", "encoders first, then prompts, losses of stage"
DEPTHS = ["first block", "first 2/4 of the blocks", "first 3/4 of the blocks", "two stages"]
PROMPTS_ONLY = [f"prompts only, {LONG}, losses of stage {number}" for number in (1, 2)]
LOW_RATES = [f"direct, learning rate / {number}, {LONG}" for number in (3, 10, 30)]
AT_LOW_RATE = ["two stages", f"direct fine-tuning, {LONG}"]
DOMAINS = ("toy_pedes", "toy_generic", "toy_illustrated")
QUOTES = (
  ("losses", [f"direct without identity, {LONG}"], "R@1", "without it, direct fine-tuning has {} for 20 epochs"),
  ("losses", [f"direct fine-tuning, {LONG}"], "R@1", "with it, {} for 20"),
  ("components", ["direct fine-tuning"], "R@1", "for 20 and {} for 10"),
  ("order", ["identity head first, then all"], "R@1", "the same R@1 ({})"),
  ("order", ["identity head first, then all"], "R@1, held out", "keeps {} on the held-out pictures"),
  ("components", ["direct fine-tuning"], "R@1, held out", "direct fine-tuning keeps {}."),
  ("order", [f"prompts and encoders together, {LONG}"], "R@1", "encoders together: {},"),
  ("order", [f"{REVERSED} 1", f"{REVERSED} 2"], "R@1", "In reverse: {} and {},"),
  ("depth", DEPTHS, "R@1", "{}, {}, {}, {}"),
  ("modality", ["image encoder only", "text encoder only"], "R@1", "encoder only {}, in the text encoder only {}"),
  ("components", PROMPTS_ONLY, "R@1", "{}, and with the losses of stage 2 {}"),
  ("components", ["after stage 1"], "R@1", "after stage 1 it was {}"),
  ("components", LOW_RATES, "R@1", "R@1 {}, {}, {};"),
  ("components", LOW_RATES, "R@1, held out", "pictures {}, {}, {},"),
  ("components", LOW_RATES, "R@1, toy illustrated", "persons {}, {}, {},"),
  ("low_rate/main", AT_LOW_RATE, "R@1", "have {}, and direct fine-tuning for as many steps {}:"),
  ("low_rate/main", AT_LOW_RATE, "R@1, held out", "they keep {} and {}."),
  ("components", ["two stages"], "R@1, held out", "where two stages keep {};"),
  ("components", ["two stages"], "R@1, toy illustrated", "where two stages have {}."),
  *(("transfer", [f"{name} → {other}" for other in DOMAINS], "R@1", "{}, {}, {}") for name in DOMAINS),
)  # fmt: skip


def records(table):
  """Returns the lines of docs/study/TABLE.csv, as dicts."""
  lines = [line for line in (ROOT / f"docs/study/{table}.csv").read_text().splitlines() if not line.startswith("#")]
  return list(csv.DictReader(lines))


def cell(name, num_persons, metric):
  rows = [row for row in records("main") if (row["row"], row["group"].split()[1]) == (name, str(num_persons))]
  assert [row["seed"] for row in rows] == ["0", "1", "2"]
  values = [float(row[metric]) for row in rows]
  return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


@pytest.mark.parametrize("page", ["README.md", "docs/study.md"])
def test_the_table_has_the_numbers_of_the_study(page):
  text = (ROOT / page).read_text()
  for name in ROWS:
    cells = [cell(name, num_persons, "R@1") for num_persons in (30, 100, 300)]
    cells += [cell(name, 100, metric) for metric in ("R@1, held out", "R@1, toy illustrated")]
    assert f"| {name} | {' | '.join(cells)} |" in text


@pytest.mark.parametrize(("table", "rows", "metric", "quote"), QUOTES)
def test_numbers_in_the_text_are_those_of_a_table_with_one_seed(table, rows, metric, quote):
  values = [[float(record[metric]) for record in records(table) if record["row"] == row] for row in rows]
  assert [len(seeds) for seeds in values] == [1] * len(rows)
  text = " ".join((ROOT / "docs/study.md").read_text().split())
  assert quote.format(*(f"{value + 1e-9:.1f}" for (value,) in values)) in text  # halves are rounded up


def test_the_readme_has_the_numbers_of_the_lower_rate():
  (low,) = [record for record in records("components") if record["row"] == LOW_RATES[1]]
  (full,) = [record for record in records("components") if record["row"] == f"direct fine-tuning, {LONG}"]
  values = [f"{float(record[metric]) + 1e-9:.1f}" for record in (low, full) for metric in ("R@1", "R@1, held out")]
  text = " ".join((ROOT / "README.md").read_text().split())
  assert "R@1 {} and keeps {} on the held-out pictures, instead of {} and {}".format(*values) in text


def test_the_text_has_the_numbers_of_interpolation_with_the_pretrained_weights():
  (record,) = [record for record in records("components") if record["row"].endswith("(WiSE-FT)")]
  values = [f"{float(record[metric]) + 1e-9:.1f}" for metric in ("R@1", "R@1, held out", "R@1, toy illustrated")]
  text = " ".join((ROOT / "docs/study.md").read_text().split())
  assert "(WiSE-FT): {}, {}, {}.".format(*values) in text
