"""What a study costs, counted by hand."""

import pathlib

from configs import cuhk, toy
from tireid_jax.storage import files
from tireid_jax.study import budget, plan, tables
from tireid_jax.study.groups import Group
from tireid_jax.workdir import layout

ROWS = (tables.DIRECT,)


def plan_of(config, folder, seeds=(0,), **options):
  return plan.make([Group("", ROWS, {"": config})], seeds, folder, folder, **options)


def configured(**changes):
  config = toy.get_config()
  config.pretrained = "CLIP"
  config.stage2.update(epochs=4, batch_size=16, evaluate_every_epochs=2)
  config.toy.update(num_train_ids=8, num_val_ids=6, num_test_ids=12, images_per_id=4)
  config.study.update(further_results=True, domains=("toy_pedes", "toy_illustrated"), held_out="toy_pool")
  config.study.update(test_domains=(), learning_rates=(), epochs=(), rates_first=False, pool_held_out=24)
  config.update_from_flattened_dict(changes)
  return config


def test_steps_and_encoded_pictures_of_a_run_are_counted_until_it_is_finished(tmp_path):
  made = plan_of(configured(), tmp_path)
  found = budget.of_plan(made, tmp_path)
  # 64 captions of the 32 training pictures make 4 steps.
  assert (found.runs, found.results, found.steps) == (1, 1, 16)
  # Twice 24 pictures of validation and 48 of test; then 48 of each domain, and 24 of pre-training.
  assert found.cost == 16 + (2 * 24 + 48 + 2 * 48 + 24) * 2 / 16 / 3
  assert found.in_words(0) == "1 runs and 1 results are missing: 16 training steps, and as much encoding as 9 more"
  assert found.in_words(360).endswith("; 2.5 core-hours at 360 s a step")
  (entry,) = made.all_entries()
  files.write_json(entry.cell.stage_folder / layout.RESULT_FILE, {})
  found = budget.of_plan(made, tmp_path)
  assert (found.runs, found.results, found.steps) == (0, 1, 0)


def test_a_grid_is_counted_with_what_follows_from_it(tmp_path):
  config = configured(**{"study.learning_rates": (1.0, 2.0), "study.epochs": (1, 3)})
  found = budget.of_plan(plan_of(config, tmp_path, seeds=(0, 1), assumes=True), tmp_path)
  # The longest runs are in the grid for the first seed.
  assert (found.runs, found.results, found.steps) == (4 + 1, 2, 4 * (1 + 1 + 3 + 3) + 4 * 3)


def test_photographs_are_not_counted():
  config = cuhk.get_config()
  config.pretrained = "CLIP"
  found = budget.of_plan(plan_of(config, pathlib.Path("/w")), pathlib.Path("/w"))
  assert (found.steps, found.in_words(1.0)) == (None, "1 runs and 1 results are missing")
