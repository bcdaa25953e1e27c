"""Which runs share a cell, and what changes the digest of one."""

import pathlib

import pytest

from configs import cuhk, toy
from tireid_jax.configs import common
from tireid_jax.study import cells, entries, running, tables
from tireid_jax.study.tables import Row

WORKDIR = pathlib.Path("/w")


def chain(ablation="", seed=0, config=cuhk, **changes):
  base = config.get_config()
  base.pretrained = base.pretrained or "CLIP"
  base.update_from_flattened_dict(changes)
  return cells.chain(common.with_ablation(base, ablation), seed, WORKDIR)


def test_rows_with_the_same_stage_1_share_its_cell():
  two_stages, only = chain(), chain("prompts_only")
  assert [cell.number for cell in two_stages] == [1, 2]
  assert two_stages[1].config.stage2.init_from == str(two_stages[0].stage_folder)
  assert (two_stages[0].digest, two_stages[0].folder) == (only[0].digest, only[0].folder)
  changed = chain(**{"stage2.learning_rate": 1.0})
  assert changed[0].digest == two_stages[0].digest
  assert changed[1].digest != two_stages[1].digest


def test_a_change_of_stage_1_changes_the_digest_of_stage_2():
  assert chain(**{"stage1.learning_rate": 1.0})[1].digest != chain()[1].digest


@pytest.mark.parametrize(
  ("field", "value", "is_same"),
  [
    ("seed", 5, True), ("data_dir", "elsewhere", True), ("log_every_steps", 7, True), ("model.remat", "full", True),
    ("stage1.microbatch_size", 8, True), ("stage2.epochs", 9, True),
    ("temperature", 0.5, False), ("prompts.depth", 2, False), ("pretrained", "OTHER", False),
    ("pretrained_prefix", "ema.", False), ("select_by", "t2i/mAP", False), ("stage1.augment.flip", 0.0, False),
  ],
)  # fmt: skip
def test_the_digest_of_stage_1_depends_on_what_decides_its_result(field, value, is_same):
  assert (chain(**{field: value})[0].digest == chain()[0].digest) == is_same


def test_stages_without_prompts_do_not_depend_on_the_prompts():
  assert chain("no_prompts")[0].digest == chain("no_prompts", **{"prompts.depth": 3})[0].digest
  assert chain("no_prompts")[0].digest == chain("prompt_length_0")[0].digest
  assert chain("no_prompts")[0].digest == chain("no_stage1", **{"stage2.use_prompts": False})[0].digest


def test_seeds_have_the_same_digest_and_other_folders_and_other_synthetic_persons():
  first, second = chain(config=toy)[-1], chain(config=toy, seed=2)[-1]
  assert first.digest == second.digest
  assert first.folder == WORKDIR / "cells" / first.digest / "seed0"
  assert (second.config.seed, second.config.toy.seed - first.config.toy.seed) == (2, 2)
  assert first.config.data_dir != second.config.data_dir


def test_all_rows_on_synthetic_data_start_from_one_pre_training():
  rows = [chain(ablation, config=toy, pretrained="stage0") for ablation in ("", "no_prompts", "prompt_length_16")]
  assert [[cell.number for cell in row] for row in rows] == [[0, 1, 2], [0, 2], [0, 1, 2]]
  assert len({row[0].digest for row in rows}) == 1
  assert rows[1][1].config.pretrained == str(rows[0][0].stage_folder)
  larger = chain(config=toy, pretrained="stage0", **{"toy.num_train_ids": 7})
  assert (larger[0].digest == rows[0][0].digest, larger[1].digest == rows[0][1].digest) == (True, False)
  assert larger[0].config.to_dict() == rows[0][0].config.to_dict()  # so that one resumes what the other has begun


def test_one_command_is_printed_for_each_workdir(tmp_path):
  bases = [cuhk.get_config(), cuhk.get_config()]
  bases[1].study.gallery_persons = 100  # does not matter to training
  made = [entries.make(tables.TWO_STAGES, base, 0, tmp_path) for base in bases]
  lines = running.commands(made, tmp_path, "configs/cuhk.py")
  assert [line.partition("--workdir=")[2] for line in lines] == [str(cell.folder) for cell in made[0].needed()]


def test_zero_shot_needs_only_what_the_weights_need():
  zero_shot = Row("zero-shot", "no_prompts", derived="zero_shot")
  assert entries.make(zero_shot, cuhk.get_config(), 0, WORKDIR).needed() == []
  config = toy.get_config()
  config.pretrained = "stage0"
  (pre_training,) = entries.make(zero_shot, config, 0, WORKDIR).needed()
  assert pre_training.number == 0
  longer = toy.get_config()
  longer.stage2.epochs = 9
  made = [entries.make(zero_shot, config, 4, WORKDIR) for config in (toy.get_config(), longer)]
  assert made[0].digest == made[1].digest == entries.make(zero_shot, longer, 0, WORKDIR).digest


def test_a_transferred_model_tested_on_other_persons_has_another_digest():
  row = Row("row", derived="transfer", dataset="toy_generic", test_dataset="toy_pedes")
  config, larger = toy.get_config(), toy.get_config()
  config.data.name = larger.data.name = row.dataset
  larger.toy.num_test_ids = 7
  first, second = (entries.make(row, one, 0, WORKDIR) for one in (config, larger))
  assert first.cell.digest == second.cell.digest
  assert first.digest != second.digest


def test_an_unknown_table_is_an_error_with_the_closest_name():
  with pytest.raises(ValueError, match=r"there is no such table \(did you mean 'main'\?\)"):
    tables.find("mian")
