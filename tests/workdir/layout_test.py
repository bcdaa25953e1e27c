"""What a workdir holds, and of whom: files on disk."""

import json

import numpy as np
import pytest

from configs import rstp
from tireid_jax.storage import files
from tireid_jax.workdir import layout


def config(**changes):
  made = rstp.get_config()
  made.pretrained = "clip"
  for field, value in changes.items():
    section, _, name = field.rpartition("__")
    (made[section] if section else made)[name] = value
  return made


def written(path):
  return json.loads(path.read_text())


def test_a_claim_writes_the_config_for_the_run_and_for_the_stage(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  assert written(tmp_path / "config.json") == written(tmp_path / "stage1/config.json")
  assert layout.read_config(tmp_path).to_dict() == config().to_dict()
  assert not (tmp_path / "stage2").exists()


def test_a_later_stage_need_not_name_the_weights_again_and_the_earlier_ones_config_stays(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  layout.write_config(tmp_path, config(pretrained="", stage2__epochs=3), 2)
  assert layout.read_config(tmp_path).pretrained == "clip"
  assert layout.read_config(tmp_path).stage2.epochs == 3
  assert written(tmp_path / "stage1/config.json")["stage2"]["epochs"] == config().stage2.epochs
  layout.write_config(tmp_path, config(pretrained="other"), 2)
  assert layout.read_config(tmp_path).pretrained == "other"


@pytest.mark.parametrize(
  ("claimed", "asked", "change", "is_refused"),
  [
    (1, 1, {"stage1__epochs": 3}, True),
    (1, 1, {"stage2__epochs": 3}, False),
    (1, 2, {"stage2__epochs": 3}, False),  # not there yet
    (1, 2, {"stage1__epochs": 3}, True),  # stage 2 would start from another stage 1
    (2, 1, {"stage2__epochs": 3}, False),  # stage 1 does not depend on it
    (2, 2, {"stage1__epochs": 3}, False),  # of which nothing is there
    (1, 2, {"seed": 3}, True),
    (1, 2, {"data__name": "cuhk_pedes"}, True),
    (1, 2, {"data__use_exif": False}, False),
    (1, 2, {"data_dir": "elsewhere"}, False),
  ],
)
def test_a_workdir_is_for_what_its_stages_depend_on(tmp_path, claimed, asked, change, is_refused):
  layout.write_config(tmp_path, config(), claimed)
  if not is_refused:
    layout.check(tmp_path, config(**change), asked)
    return
  (field,) = change
  expected = f"holds stage {claimed} of another run: {field.replace('__', '.')}: .* requested"
  with pytest.raises(ValueError, match=expected):
    layout.check(tmp_path, config(**change), asked)


def test_of_many_differences_three_are_named_and_the_others_counted(tmp_path):
  layout.write_config(tmp_path, config(), 1)
  changes = {f"stage1__{name}": 3 for name in ("epochs", "batch_size", "clip_norm", "warmup_epochs", "final_lr")}
  with pytest.raises(ValueError, match=r"stage1.batch_size.*; stage1.clip_norm.*; stage1.epochs.* and 2 more;"):
    layout.check(tmp_path, config(**changes), 1)
  del changes["stage1__epochs"], changes["stage1__final_lr"]
  with pytest.raises(ValueError, match=r"3.0? requested; choose another") as error:
    layout.check(tmp_path, config(**changes), 1)
  assert "more" not in str(error.value)


@pytest.mark.parametrize("name", ["a[b]", "lr*", "run?"])
def test_a_name_that_is_a_pattern_is_rejected(tmp_path, name):
  with pytest.raises(ValueError, match="are glob patterns to Orbax"):
    layout.check(tmp_path / name, config(), 1)


def test_an_unfinished_stage_has_no_result_and_another_folder_no_config(tmp_path):
  assert layout.read_result(tmp_path, 1) is None
  with pytest.raises(FileNotFoundError, match=r"it has no config.json\); make one with"):
    layout.read_config(tmp_path)
  files.write_json(tmp_path / "stage1/result.json", {"stage": 1})
  assert layout.read_result(tmp_path, 1) == {"stage": 1}
  assert layout.read_result(tmp_path, 2) is None


def test_arrays_are_read_back_and_no_other_file_stays(tmp_path):
  layout.write_npz(tmp_path / "ranks.npz", {"rank": np.arange(3)})
  with np.load(tmp_path / "ranks.npz") as arrays:
    np.testing.assert_array_equal(arrays["rank"], [0, 1, 2])
  assert [path.name for path in tmp_path.iterdir()] == ["ranks.npz"]
