"""What the tables say, from results whose differences are known."""

import csv
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from configs import cuhk, toy
from tests.ranked_results import scores
from tireid_jax.study import entries, results, tables, transfer, writing
from tireid_jax.study import groups as groups_lib
from tireid_jax.study.groups import Group
from tireid_jax.study.records import Record

NUM_IDENTITIES = 40


def record(entry, fraction_correct):
  """Returns a Record in which that fraction of the identities is right at rank 1, with both of their queries."""
  right = np.arange(NUM_IDENTITIES) < round(fraction_correct * NUM_IDENTITIES)
  found = scores(np.where(np.repeat(right, 2), 1, 20), np.repeat(np.arange(NUM_IDENTITIES), 2))
  data = {"digest": entry.digest, "seed": entry.seed, "scoring": {}, "dataset": "cuhk_pedes", "fingerprint": "f00"}
  cost = {"steps": 1200, "flops": 2.5e12, "seconds": 7.0, "trainable_parameters": 5}
  facts = {"split": "test", "selection": {"t2i": {"R@1": 12.5}}, "cost": cost}
  return Record({**data, **facts, "t2i": found.summary()}, found)


def write(folder, table, fractions, failures=None):
  """Writes a table whose rows have these fractions of right identities for each seed.

  None is for a missing result, or for a row that is not tuned.
  """
  config = cuhk.get_config()
  config.study.gallery_persons = 50
  made, done = [], {}
  for row, by_seed in zip(table.rows, fractions, strict=True):
    for seed, fraction in enumerate(by_seed or ()):
      entry = entries.make(row, config, seed, folder)
      made.append(entry)
      if fraction is not None:
        done[entry] = record(entry, fraction)
  found = results.of_rows(table.rows, made, done, share_queries=True, compares=table.compares)
  group = Group("", table.rows, {"": config})
  writing.write(folder, "t", table, {group: found}, config=config, command="COMMAND", failures=failures or {})
  return (folder / "t.md").read_text()


def row_of(text, name):
  (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |") and "`" not in line]
  return [cell.strip() for cell in line.strip("|").split("|")]


SMALL = tables.Table("Small", (tables.TWO_STAGES, tables.DIRECT, tables.AFTER_STAGE_1))


def test_the_table_has_means_deviations_and_differences_or_that_they_are_not_resolved(tmp_path):
  text = write(tmp_path, SMALL, [(0.5, 0.6), (0.8, 0.9), (0.525, 0.575)])
  assert row_of(text, "two stages")[1] == "55.00 ± 7.07"
  difference = row_of(text, "direct fine-tuning")[6]
  # 12 of 40 identities gain 100 points: the interval is about ±1.96 * 100 * sqrt(0.3 * 0.7 / 40).
  assert difference.startswith("+30.00 [+")
  low, high = map(float, difference.partition("[")[2].rstrip("]").split(", "))
  assert (low, high) == pytest.approx((30 - 14.2, 30 + 14.2), abs=2.5)
  assert row_of(text, "after stage 1")[6].startswith("not resolved (+0.00, ±")
  assert row_of(text, "two stages")[8:] == ["1,200", "2.5", "7"]


def test_the_protocol_has_the_command_seeds_selection_split_and_digests(tmp_path):
  text = write(tmp_path, SMALL, [(0.5, 0.6), (0.8, 0.9), (0.5, 0.6)])
  protocol = text.partition("## Protocol")[2]
  assert "Command: `COMMAND`" in protocol
  assert "Seeds: 0, 1" in protocol
  assert "best t2i/R@1 on the validation split; the test split is scored once" in protocol
  assert "Data: cuhk_pedes, split test" in protocol
  assert "Gallery: about 50 persons" in protocol
  digest = entries.make(tables.DIRECT, cuhk.get_config(), 0, tmp_path).digest
  assert f"| direct fine-tuning | `no_prompts` | `{digest}` | 0, 1 |" in protocol


def test_missing_and_failed_results_are_named(tmp_path):
  text = write(tmp_path, SMALL, [(0.5, 0.6), (0.8, None), (None, None)], {"direct fine-tuning, seed 1": "no disk"})
  assert row_of(text, "after stage 1")[1] == "missing"
  assert "- direct fine-tuning: seeds 1" in text
  assert "- after stage 1: seeds 0, 1" in text
  assert "- direct fine-tuning, seed 1: no disk" in text


def test_no_other_row_takes_the_place_of_a_reference_that_is_not_tuned(tmp_path):
  text = write(tmp_path, SMALL, [None, (0.8, 0.9), (0.5, 0.6)])
  assert "R@1 − two stages" in text
  assert row_of(text, "two stages")[1] == "missing"
  assert row_of(text, "after stage 1")[6:8] == ["", ""]
  assert "| two stages | `-` | not tuned yet | none |" in text


def test_groups_have_a_table_each_and_a_figure_over_the_number_of_persons(tmp_path):
  config = toy.get_config()
  config.study.update(train_ids=(100, 300), test_ids=1000, learning_rates=(), epochs=())
  table, groups = groups_lib.of_table("main", config)
  assert [group.name for group in groups] == ["toy_pedes, 100 training persons", "toy_pedes, 300 training persons"]
  assert groups[0].configs[""].toy.num_test_ids == 1000
  assert tables.DIRECT not in groups[0].rows
  found = {}
  for group, fraction in zip(groups, (0.25, 0.75), strict=True):
    made = [entries.make(row, group.configs[""], 0, tmp_path) for row in group.rows]
    done = {entry: with_further(record(entry, fraction)) for entry in made}
    found[group] = results.of_rows(group.rows, made, done, share_queries=False)
  choices = {"two stages": {"stage2": {"learning_rate": 3e-4, "epochs": 100, "validation": 61.5, "candidates": 12,
                                       "longest_wins": True}}}  # fmt: skip
  writing.write(
    tmp_path, "t", table, found, config=config, command="C", failures={}, choices=choices, untuned={"other": 7}
  )
  text = (tmp_path / "t.md").read_text()
  assert text.index("## toy_pedes, 100 training persons") < text.index("| two stages | 25.00 |")
  assert text.index("## toy_pedes, 300 training persons") < text.index("| two stages | 75.00 |")
  assert "- other: not tuned yet, 7 runs of its grid are missing" in text
  assert "| two stages | stage2 | 0.0003 | 100 | 61.50 | 12 | yes |" in text
  assert "| | drift (image) | R@1, held out | R@1, toy illustrated | mAP, toy illustrated |" in text
  assert "| two stages | 0.25 | 12.00 | 7.00 | 5.00 |" in text
  lines = [line for line in (tmp_path / "t.csv").read_text().splitlines() if not line.startswith("#")]
  assert {row["mAP, toy illustrated"] for row in csv.DictReader(lines)} == {"5.0000"}
  svg = ElementTree.parse(tmp_path / "t.svg").getroot()
  titles = [title.text for title in svg.iter("{http://www.w3.org/2000/svg}title")]
  assert {"two stages 25% at IDs 100", "two stages 75% at IDs 300"} <= set(titles)


def test_rows_whose_lengths_are_selected_do_not_claim_the_steps_of_both_stages():
  config = toy.get_config()
  names = [row.name for row in groups_lib.of_table("main", config)[1][0].rows]
  assert names == ["two stages", "direct fine-tuning", "random frozen prompts", "after stage 1", "zero-shot"]
  rows = groups_lib.of_table("components", config)[1][0].rows
  assert len({row.name for row in rows}) == len(rows)
  assert [row.ablation for row in rows if row.name == "direct fine-tuning"] == ["no_prompts_long"]
  config.study.epochs = ()
  assert tables.DIRECT_LONG in groups_lib.of_table("main", config)[1][0].rows


def test_further_results_have_their_difference_where_it_is_resolved(tmp_path):
  config = toy.get_config()
  table, (group, *_) = groups_lib.of_table("main", config)
  rows = group.rows[:2]
  made = [entries.make(row, group.configs[""], seed, tmp_path) for row in rows for seed in (0, 1, 2)]
  held_out = [12.0, 14.0, 16.0, 31.0, 34.0, 37.0]
  done = {entry: with_further(record(entry, 0.5), value) for entry, value in zip(made, held_out, strict=True)}
  found = results.of_rows(rows, made, done, share_queries=False)
  writing.write(tmp_path, "t", table, {group: found}, config=config, command="C", failures={})
  text = (tmp_path / "t.md").read_text()
  assert "| two stages | 0.25 ± 0.00 | 14.00 ± 2.00 |" in text
  # Differences of 19, 20 and 21: Student's t of two degrees of freedom is 4.303, divided by the root of 3.
  assert "| direct fine-tuning | 0.25 ± 0.00 | 34.00 ± 3.00 (+20.00 [+17.52, +22.48]) |" in text


def with_further(one, held_out=12.0):
  further = {"drift": {"image": 0.25}, "held_out": {"R@1": held_out, "mAP": 9.0}}
  further["toy_illustrated"] = {"R@1": 7.0, "mAP": 5.0}
  return Record({**one.data, "further": further}, one.scores)


def test_a_single_seed_is_said_to_be_one(tmp_path):
  text = write(tmp_path, SMALL, [(0.5,), (0.8,), (0.5,)])
  assert "One seed" in text
  assert "resamples identities with" in text


def test_the_csv_has_every_seed_and_the_protocol(tmp_path):
  write(tmp_path, SMALL, [(0.5, 0.6), (0.8, None), (0.5, 0.6)])
  lines = (tmp_path / "t.csv").read_text().splitlines()
  assert lines[0] == "# Command: `COMMAND`"
  rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
  assert [(row["row"], row["seed"], row["R@1"]) for row in rows] == [
    ("two stages", "0", "50.0000"), ("two stages", "1", "60.0000"), ("direct fine-tuning", "0", "80.0000"),
    ("after stage 1", "0", "50.0000"), ("after stage 1", "1", "60.0000"),
  ]  # fmt: skip


def test_the_figure_of_prompt_lengths_has_a_point_for_each_length(tmp_path):
  table = tables.TABLES["length"]
  # The 4 tokens of the config are the same row as "4 tokens".
  assert tables.Row("4 tokens", "prompt_length_4") in table.rows
  text = write(tmp_path, table, [[n / 10] for n in range(len(table.rows))])
  assert "![Prompt length](t.svg)" in text
  assert "4 tokens" not in text
  svg = ElementTree.parse(tmp_path / "t.svg").getroot()
  titles = [title.text for title in svg.iter("{http://www.w3.org/2000/svg}title")]
  points = [title for title in titles if title.startswith("R@1")]
  lengths = [title.rsplit(" ", 1)[1] for title in points]
  assert lengths == ["0", "1", "2", "4", "8", "16"]
  assert "R@1 0% at P 4" in points


@pytest.mark.parametrize("name", tables.TABLES)
def test_no_two_rows_of_a_table_are_the_same_but_for_the_default(name, tmp_path):
  table = tables.TABLES[name]
  digests = [entries.make(row, cuhk.get_config(), 0, tmp_path).digest for row in table.rows]
  assert len(set(digests)) >= len(digests) - (name == "length")


def test_transfer_tests_every_model_on_every_data_set_and_warns_of_a_shared_source(tmp_path):
  configs = transfer.configs_of(cuhk.get_config())
  assert {name: config.select_on for name, config in configs.items()} == {
    "cuhk_pedes": "val", "icfg_pedes": "last", "rstp_reid": "val",
  }  # fmt: skip
  table = transfer.table(list(configs))
  made = [entries.make(row, configs[row.dataset], 0, tmp_path) for row in table.rows]
  assert len({entry.digest for entry in made}) == 9
  assert len({entry.cell.digest for entry in made}) == 3
  done = {entry: record(entry, number / 10) for number, entry in enumerate(made)}
  found = results.of_rows(table.rows, made, done, share_queries=True, compares=False)
  found = {Group("", table.rows, configs): found}
  writing.write(tmp_path, "t", table, found, config=cuhk.get_config(), command="C", failures={})
  text = (tmp_path / "t.md").read_text()
  line = next(line for line in text.splitlines() if line.startswith("| icfg_pedes |"))
  assert [cell.split(" / ")[0] for cell in line.strip("| ").split(" | ")[1:]] == ["30.00", "40.00", "50.00"]
  assert "Warning: ICFG-PEDES and RSTPReid take their images from the same source (MSMT17)" in text


def test_identities_held_out_for_validation_are_those_of_the_data_set_without_a_split():
  base = cuhk.get_config()
  base.data.val_identities = 100
  configs = transfer.configs_of(base)
  assert [(config.select_on, config.data.val_identities) for config in configs.values()] == [
    ("val", 0), ("val", 100), ("val", 0),
  ]  # fmt: skip
  base.select_on = "last"
  assert {config.select_on for config in transfer.configs_of(base).values()} == {"last"}
  other = cuhk.get_config()
  other.data.name = "custom"
  with pytest.raises(ValueError, match="--table=transfer has the data sets cuhk_pedes, .* names custom"):
    transfer.configs_of(other)
