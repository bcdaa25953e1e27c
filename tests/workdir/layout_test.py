"""The files of a workdir, and the check that they belong to the same run."""

import json

import numpy as np
import pytest

from configs import rstp
from tireid_jax.storage import files
from tireid_jax.workdir import layout


def config(**changes):
  config_ = rstp.get_config()
  config_.pretrained = "clip"
  for field, value in changes.items():
    section, _, name = field.rpartition("__")
    (config_[section] if section else config_)[name] = value
  return config_


def read_json(path):
  return json.loads(path.read_text())


def test_write_config_stores_the_config_of_the_run_and_of_the_stage(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  assert read_json(tmp_path / "config.json") == read_json(tmp_path / "stage1/config.json")
  assert layout.read_config(tmp_path).to_dict() == config().to_dict()
  assert not (tmp_path / "stage2").exists()


def test_a_later_stage_inherits_the_weights_and_keeps_the_config_of_the_earlier_stage(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  layout.write_config(tmp_path, config(pretrained="", stage2__epochs=3), 2)
  assert layout.read_config(tmp_path).pretrained == "clip"
  assert layout.read_config(tmp_path).stage2.epochs == 3
  assert read_json(tmp_path / "stage1/config.json")["stage2"]["epochs"] == config().stage2.epochs
  layout.write_config(tmp_path, config(pretrained="other"), 2)
  assert layout.read_config(tmp_path).pretrained == "other"


@pytest.mark.parametrize(
  ("existing_stage", "requested_stage", "change", "is_rejected"),
  [
    (1, 1, {"stage1__epochs": 3}, True),
    (1, 1, {"stage2__epochs": 3}, False),
    (1, 2, {"stage2__epochs": 3}, False),  # stage 2 has not run yet
    (1, 2, {"stage1__epochs": 3}, True),  # stage 2 would start from another stage 1
    (2, 1, {"stage2__epochs": 3}, False),  # stage 1 does not depend on it
    (2, 2, {"stage1__epochs": 3}, False),  # stage 1 has not run
    (1, 2, {"seed": 3}, True),
    (1, 2, {"data__name": "cuhk_pedes"}, True),
    (1, 2, {"data__use_exif": False}, False),
    (1, 2, {"data_dir": "elsewhere"}, False),
  ],
)
def test_a_workdir_rejects_changes_that_its_stages_depend_on(
  tmp_path, existing_stage, requested_stage, change, is_rejected
):
  layout.write_config(tmp_path, config(), existing_stage)
  if not is_rejected:
    layout.check(tmp_path, config(**change), requested_stage)
    return
  (field,) = change
  expected = f"holds stage {existing_stage} of another run: {field.replace('__', '.')}: .* requested"
  with pytest.raises(ValueError, match=expected):
    layout.check(tmp_path, config(**change), requested_stage)


def test_three_differences_are_listed_and_the_rest_are_counted(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  changes = {f"stage1__{name}": 3 for name in ("epochs", "batch_size", "clip_norm", "warmup_epochs", "final_lr")}
  with pytest.raises(ValueError, match=r"stage1.batch_size.*; stage1.clip_norm.*; stage1.epochs.* and 2 more;"):
    layout.check(tmp_path, config(**changes), 1)
  del changes["stage1__epochs"], changes["stage1__final_lr"]
  with pytest.raises(ValueError, match=r"3.0? requested; choose another") as error:
    layout.check(tmp_path, config(**changes), 1)
  assert "more" not in str(error.value)


@pytest.mark.parametrize("name", ["a[b]", "lr*", "run?"])
def test_a_workdir_name_that_is_a_glob_pattern_is_rejected(tmp_path, name):
  with pytest.raises(ValueError, match="are glob patterns to Orbax"):
    layout.check(tmp_path / name, config(), 1)


def test_an_unfinished_stage_has_no_result_and_a_folder_without_config_is_an_error(tmp_path):
  assert layout.read_result(tmp_path, 1) is None
  with pytest.raises(FileNotFoundError, match=r"it has no config.json\); make one with"):
    layout.read_config(tmp_path)
  files.write_json(tmp_path / "stage1/result.json", {"stage": 1})
  assert layout.read_result(tmp_path, 1) == {"stage": 1}
  assert layout.read_result(tmp_path, 2) is None


def test_arrays_can_be_read_back_and_no_temporary_file_remains(tmp_path):
  layout.write_npz(tmp_path / "ranks.npz", {"rank": np.arange(3)})
  with np.load(tmp_path / "ranks.npz") as arrays:
    np.testing.assert_array_equal(arrays["rank"], [0, 1, 2])
  assert [path.name for path in tmp_path.iterdir()] == ["ranks.npz"]
