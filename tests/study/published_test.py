"""The table in the README and docs/study.md has the numbers of docs/study/main.csv."""

import csv
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
ROWS = ("two stages", "direct fine-tuning", "random frozen prompts", "after stage 1", "zero-shot")


def cell(name, num_persons, metric):
  lines = [line for line in (ROOT / "docs/study/main.csv").read_text().splitlines() if not line.startswith("#")]
  rows = [row for row in csv.DictReader(lines) if (row["row"], row["group"].split()[1]) == (name, str(num_persons))]
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
