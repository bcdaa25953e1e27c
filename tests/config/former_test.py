"""Data with a former name of a synthetic data set, and workdirs trained on it, are rejected with the command to use."""

import json

import pytest

from configs import toy
from tests.forked import run
from tireid_jax.config import former
from tireid_jax.config import values as config_lib
from tireid_jax.training import stages

GENERATE = "python -m tireid_jax.data.toy --config=configs/toy.py --to=RAW"


def error_of(*command):
  """Runs a command that must exit with status 2, and returns its error line."""
  done = run(*command)
  assert done.returncode == 2, done.stderr[-2000:]
  (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  assert GENERATE in line
  return line


def test_raw_data_with_a_former_name_is_rejected_by_prepare(tmp_path):
  (tmp_path / "SynthPEDES").mkdir()
  flags = ("data.prepare", "--config=configs/toy.py", f"--config.data_dir={tmp_path}/data", f"--raw={tmp_path}")
  assert "SynthPEDES, its former name" in error_of(*flags)
  assert "synth_pedes is now called toy_pedes" in error_of(*flags, "--config.data.name=synth_pedes")


def test_prepared_data_with_a_former_name_is_rejected_by_main(tmp_path):
  (tmp_path / "data/synth_generic").mkdir(parents=True)
  line = error_of(
    "main", "--config=configs/toy.py", f"--config.data_dir={tmp_path}/data", "--stage=0", f"--workdir={tmp_path}/w"
  )
  assert "toy_generic at 96x48 is not prepared" in line
  assert "synth_generic, its former name" in line


@pytest.mark.parametrize("name", former.DATA_SETS)
def test_workdirs_trained_on_data_with_a_former_name_are_rejected_by_main_and_evaluate(tmp_path, name):
  config = config_lib.to_json(toy.get_config())
  config["data"]["name"] = name
  (tmp_path / "stage1").mkdir()
  for folder in (tmp_path, tmp_path / "stage1"):
    (folder / "config.json").write_text(json.dumps(config))
  for command in (
    ("evaluate", f"--workdir={tmp_path}", "--stage=1"),
    ("main", "--config=configs/toy.py", "--stage=1", f"--workdir={tmp_path}"),
  ):
    assert f"{name} is now called {former.DATA_SETS[name]}" in error_of(*command)


def test_a_field_that_an_older_workdir_lacks_has_the_value_that_was_in_effect():
  config = config_lib.to_json(toy.get_config())
  stored = json.loads(json.dumps(config))
  del stored["pretrained_prefix"], stored["select_by"], stored["prompts"]["placement"], stored["stage1"]["optimizer"]
  del stored["stage1"]["losses"]["cmpm"]
  assert config_lib.differences(stored, config, (0, 1, 2)) == []
  found = config_lib.from_json(stored)
  assert (found.pretrained_prefix, found.prompts.placement, found.stage1.optimizer) == ("", "deep", "adam")
  assert found.stage1.losses.cmpm == 0.0
  config["stage1"]["optimizer"] = "adamw"
  assert config_lib.differences(stored, config, (1,)) == ["stage1.optimizer: 'adam' in the workdir, 'adamw' requested"]


def test_a_stored_stage_without_a_field_that_every_version_has_is_rejected():
  stored = config_lib.to_json(toy.get_config())
  del stored["stage1"]["epochs"]
  with pytest.raises(ValueError, match=r"stage1 has other fields than this version knows \(epochs\)"):
    stages.from_config(config_lib.from_json(stored), 1)
