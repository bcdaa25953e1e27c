"""What validation selects from the grid of each row, without training: the scores are given."""

import dataclasses
import functools
import pathlib

import pytest

from configs import cuhk, toy
from tireid_jax.configs import common
from tireid_jax.errors import DivergedError, UserError
from tireid_jax.storage import files
from tireid_jax.study import groups as groups_lib
from tireid_jax.study import plan, running, tables, tuning
from tireid_jax.study.groups import Group
from tireid_jax.training import loop
from tireid_jax.workdir import layout

WORKDIR = pathlib.Path("/w")


def configured(**changes):
  config = cuhk.get_config()
  config.pretrained = "CLIP"
  config.study.update(learning_rates=(0.1, 1.0), epochs=(3, 10))
  config.update_from_flattened_dict(changes)
  return config


def tuned(config, results, score):
  """Tunes with the score of (stage, learning rate, epochs) for each run; returns Tuned and the runs."""
  runs = []
  while (found := tuning.tune(config, 0, WORKDIR, results)).missing:
    for cell in found.missing:
      stage = cell.config[f"stage{cell.number}"]
      runs.append((cell.number, stage.learning_rate, stage.epochs))
      tuning._store(cell, results, score(*runs[-1]))
  return found, runs


def test_each_stage_gets_the_whole_grid_and_stage_2_starts_from_the_selected_stage_1(tmp_path):
  found, runs = tuned(configured(), tmp_path, lambda stage, rate, epochs: 50 - epochs - rate)
  assert [run[0] for run in runs] == 4 * [1] + 4 * [2]
  assert {(number, epochs) for number, _, epochs in runs} == {(1, 3), (1, 10), (2, 3), (2, 10)}
  assert [rate for number, rate, _ in runs if number == 2] == pytest.approx([1e-6, 1e-5, 1e-6, 1e-5])
  assert (found.config.stage1.epochs, found.config.stage2.epochs) == (3, 3)
  assert found.config.stage1.learning_rate == pytest.approx(3.5e-5)
  assert found.choices["stage2"]["longest_wins"] is False
  last = tuning._grid(found.config, 2, [3], [1.0], 0, WORKDIR)[0][1]
  assert last.parent.config.stage1.learning_rate == found.config.stage1.learning_rate


def test_the_grid_is_extended_while_the_longest_wins(tmp_path):
  only_stage_2 = configured(stages=(2,), **{"stage2.init_from": "pretrained"})
  found, runs = tuned(only_stage_2, tmp_path, lambda stage, rate, epochs: float(epochs))
  assert sorted({epochs for _, _, epochs in runs}) == [3, 10, 30, 90]
  assert (found.config.stage2.epochs, found.choices["stage2"]["longest_wins"]) == (90, True)
  assert found.config.stage2.evaluate_every_epochs == 9
  found, runs = tuned(only_stage_2, tmp_path / "30", lambda stage, rate, epochs: -abs(epochs - 30.0))
  assert (found.config.stage2.epochs, found.choices["stage2"]["longest_wins"], len(runs)) == (30, False, 8)


def test_rates_may_be_selected_before_lengths(tmp_path):
  config = configured(stages=(2,), **{"stage2.init_from": "pretrained", "study.rates_first": True})
  found, runs = tuned(config, tmp_path, lambda stage, rate, epochs: -abs(epochs - 30.0) - 100 * (rate > 1e-6))
  # Both rates for 3 epochs, then the better one for longer.
  assert [(rate, epochs) for _, rate, epochs in runs] == [
    (pytest.approx(1e-6), 3), (pytest.approx(1e-5), 3), *((pytest.approx(1e-6), epochs) for epochs in (10, 30, 90)),
  ]  # fmt: skip
  assert (found.config.stage2.epochs, found.choices["stage2"]["candidates"]) == (30, 5)
  assumed = tuning.tune(config, 0, WORKDIR, tmp_path / "empty", assumes=True)
  assert [cell.config.stage2.epochs for cell in assumed.missing] == [3, 3, 10]
  assert [cell.config.stage2.epochs for cell in tuning.tune(config, 0, WORKDIR, tmp_path / "empty").missing] == [3, 3]


def test_of_equal_scores_the_shorter_run_and_the_lower_rate_win(tmp_path):
  found, _ = tuned(configured(), tmp_path, lambda *_: 1.0)
  assert (found.config.stage2.epochs, found.config.stage2.learning_rate) == (3, pytest.approx(1e-6))


def test_lengths_may_be_given_in_any_order(tmp_path):
  only_stage_2 = configured(stages=(2,), **{"stage2.init_from": "pretrained", "study.epochs": (10, 3)})
  found, _ = tuned(only_stage_2, tmp_path / "equal", lambda *_: 1.0)
  assert found.config.stage2.epochs == 3
  found, runs = tuned(only_stage_2, tmp_path / "longer", lambda stage, rate, epochs: -abs(epochs - 30.0))
  assert (found.config.stage2.epochs, sorted({epochs for _, _, epochs in runs})) == (30, [3, 10, 30, 90])


def test_warm_up_is_no_longer_than_configured_and_no_larger_a_part_of_a_run(tmp_path):
  config = configured(stages=(2,), **{"stage2.init_from": "pretrained", "study.epochs": (6, 600)})
  config.stage2.update(epochs=60, warmup_epochs=5.0, stable_epochs=30.0)
  grid = tuning._grid(config, 2, [6, 600], [1.0], 0, WORKDIR)
  found = {one.stage2.epochs: (one.stage2.warmup_epochs, one.stage2.stable_epochs) for one, _ in grid}
  assert found == {6: (0.5, 3.0), 600: (5.0, 300.0)}


def test_a_stage_of_the_identity_head_alone_is_not_tuned(tmp_path):
  head_first = common.with_ablation(configured(), "head_first")
  found, runs = tuned(head_first, tmp_path, lambda *_: 1.0)
  assert {number for number, *_ in runs} == {2}
  assert found.config.stage1 == head_first.stage1


def test_a_row_about_its_learning_rate_keeps_it(tmp_path):
  row = next(row for row in tables.TABLES["components"].rows if row.own_rate)
  config = configured()
  made = plan.make([Group("", (row,), {"": config})], [0], WORKDIR, tmp_path)
  (grid,) = made.grid.values()
  assert {cell.config.stage2.learning_rate for cell in grid} == {config.stage2.learning_rate / 3}
  assert [cell.config.stage2.epochs for cell in grid] == [3, 10]


def test_rows_tuned_once_take_over_what_was_selected_for_all_numbers_of_persons_and_domains(tmp_path):
  config = toy.get_config()
  config.pretrained = "CLIP"
  config.study.update(train_ids=(7, 9), domains=("toy_pedes", "toy_illustrated"), tune_ids=8)
  config.study.update(learning_rates=(0.1, 1.0), epochs=(3, 10), rates_first=False)
  _, groups = groups_lib.of_table("main", config)
  groups = [dataclasses.replace(group, rows=(tables.DIRECT_LONG,)) for group in groups]
  make = functools.partial(plan.make, groups, [0, 1], WORKDIR, tmp_path)
  (grid,) = make().grid.values()
  assert {(cell.config.data.name, cell.config.toy.num_train_ids) for cell in grid} == {("toy_pedes", 8)}
  assumed = make(assumes=True)
  assert {entry.cell.config.stage2.epochs for entry in assumed.all_entries()} == {10}
  for cell in grid:
    tuning._store(cell, tmp_path, -cell.config.stage2.learning_rate * cell.config.stage2.epochs)
  made = make()
  found = [entry.cell.config for entry in made.all_entries()]
  assert [(one.data.name, one.toy.num_train_ids, one.seed) for one in found] == [
    (domain, persons, seed) for seed in (0, 1) for domain in config.study.domains for persons in (7, 9)
  ]
  assert {(one.stage2.epochs, one.stage2.learning_rate) for one in found} == {(3, 0.1 * config.stage2.learning_rate)}


def test_without_a_grid_nothing_is_tuned_and_without_validation_nothing_can_be(tmp_path):
  plain = configured(**{"study.learning_rates": (), "study.epochs": ()})
  assert tuning.tune(plain, 0, WORKDIR, tmp_path).choices == {}
  for split in ("last", "test"):
    with pytest.raises(UserError, match=f"need a validation split, but select_on is '{split}'"):
      tuning.tune(configured(select_on=split), 0, WORKDIR, tmp_path)


def test_a_diverged_run_is_ranked_last_and_a_failed_one_fails_its_row_alone(tmp_path, monkeypatch):
  config = configured()
  rows = (tables.TWO_STAGES, tables.DIRECT, tables.ZERO_SHOT)

  def run(cell, failed):
    if cell.number == 1:
      raise OSError("no disk")
    stage = cell.config.stage2
    if stage.learning_rate > 5e-6:
      raise DivergedError("loss is nan at step 3")
    tuning._store(cell, tmp_path, float(-stage.epochs))

  monkeypatch.setattr(running, "_run", run)
  made, failures = running.run_grids(
    lambda: plan.make([Group("", rows, {"": config})], [0, 1], WORKDIR, tmp_path), tmp_path
  )
  assert failures == {"two stages": "OSError: no disk"}
  assert made.choices["direct fine-tuning"]["stage2"]["learning_rate"] == pytest.approx(1e-6)
  assert {(entry.row.name, entry.seed) for entry in made.all_entries()} == {
    ("direct fine-tuning", 0), ("direct fine-tuning", 1), ("zero-shot", 0), ("zero-shot", 1),
  }  # fmt: skip


@pytest.mark.parametrize("diverges", ["in the grid", "in the lineage of the grid"])
def test_rows_that_share_a_diverged_run_are_all_tuned_and_it_runs_once(tmp_path, monkeypatch, diverges):
  config = configured(**{"study.epochs": (3,)})
  bad_rate = 1.0 * config.stage1.learning_rate if diverges == "in the grid" else None
  runs = []

  def run(config, stages, folder):
    runs.append(folder)
    if stages == (1,) and bad_rate in (None, config.stage1.learning_rate):
      raise DivergedError("loss is nan at step 3")
    result = {"selection": {"t2i": {"R@1": 1.0}}}
    files.write_json(layout.stage_folder(folder, stages[0]) / layout.RESULT_FILE, result)

  monkeypatch.setattr(loop, "run", run)
  group = Group("", (tables.TWO_STAGES, tables.AFTER_STAGE_1), {"": config})
  made, failures = running.run_grids(lambda: plan.make([group], [0], tmp_path / "w", tmp_path), tmp_path)
  assert failures == {}
  assert set(made.choices) == {"two stages", "after stage 1"}
  assert len(runs) == len(set(runs)) == (4 if bad_rate else 2)
