"""Configs are looked up first as a path, then by name in the package."""

import pathlib

import pytest
from absl import flags

from tests.commands import ROOT, run
from tireid_jax.config import config_file

CONFIGS = ROOT / "configs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """An empty working directory."""
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize("given", ["cuhk", "cuhk.py", "configs/cuhk", "configs/cuhk.py"])
def test_a_package_config_is_found_by_its_name_and_by_its_path_in_the_repository(folder, given):
  assert config_file.find(given) == f"{CONFIGS}/cuhk.py"
  assert config_file.find(f"{given}:no_stage1") == f"{CONFIGS}/cuhk.py:no_stage1"


def test_an_existing_file_takes_precedence_over_the_package(folder):
  mine = folder / "configs/cuhk.py"
  mine.parent.mkdir()
  mine.write_text("")
  assert config_file.find("configs/cuhk.py:row") == "configs/cuhk.py:row"
  assert config_file.find("cuhk") == f"{CONFIGS}/cuhk.py"


@pytest.mark.parametrize(
  ("given", "suggestion"),
  [
    ("cuk", "cuhk"),
    ("configs/icgf.py:row", "icfg"),
    ("mine/my_confg.py", "mine/my_config.py"),
    ("nothing_near", ""),
  ],
)
def test_an_unknown_config_is_an_error_with_the_closest_path_or_name(folder, given, suggestion):
  (folder / "mine").mkdir()
  (folder / "mine/my_config.py").write_text("")
  with pytest.raises(ValueError, match="there is no file .*, nor has .*/configs such a config") as error:
    config_file.find(given)
  assert str(error.value).partition(" (did you mean ")[2] == (suggestion and f"{suggestion!r}?)")


@pytest.mark.parametrize("given", ["common", "__init__", "elsewhere/cuhk.py", ""])
def test_modules_that_are_not_configs_are_not_found_in_the_package(folder, given):
  with pytest.raises(ValueError, match="there is no file"):
    config_file.find(given)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("def get_config():\n  return {}['seed']", "line 2: KeyError: 'seed'"),
    ("def get_config():\n  return int('x')", "line 2: ValueError: invalid literal for int() with base 10: 'x'"),
    ("def get_config():\n  open('/nowhere/x')", "line 2: FileNotFoundError: [Errno 2] No such file or directory"),
    ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
    ("def get_config():\n  return {", "SyntaxError: '{' was never closed"),
    ("def get_config():\n  return {}", "get_config() returns a dict, not a ConfigDict"),
    ("def get_config():\n  pass", "get_config() returns None, not a ConfigDict"),
  ],
)
def test_an_exception_in_a_config_file_becomes_one_line_with_its_line_number(tmp_path, text, message):
  file = tmp_path / "mine.py"
  file.write_text(text)
  if "mine" not in flags.FLAGS:
    config_file.define_flag("mine", None, "")
  with pytest.raises(flags.IllegalFlagValueError) as raised:
    flags.FLAGS["mine"].parse(str(file))
  assert str(raised.value).startswith(f"flag --mine={file}: {message}")
  assert len(str(raised.value).splitlines()) == 1


def test_a_user_config_can_import_package_configs_and_the_command_prints_which_file_it_read(tmp_path):
  mine = tmp_path / "mine.py"
  mine.write_text("from tireid_jax.configs import toy\n\n\ndef get_config(row=''):\n  return toy.get_config(row)\n")
  sizes = ("num_train_ids", "num_val_ids", "num_test_ids", "generic_train_images", "generic_eval_images")
  done = run("data.toy", f"--config={mine}:irra_like", f"--to={tmp_path}", *(f"--config.toy.{n}=2" for n in sizes))
  assert done.returncode == 0, done.stderr
  assert done.stderr.splitlines()[0] == f"--config: read {mine}:irra_like"


def test_evaluate_looks_up_its_data_config_in_the_same_way(tmp_path):
  done = run("evaluate", "--config=rstp", "--data=icgf", "--stage=pretrained")
  assert done.returncode == 2
  assert "error: flag --data=icgf: there is no file 'icgf'" in done.stderr
  done = run("evaluate", "--config=rstp", "--data=icfg", "--stage=2")
  assert done.returncode == 2
  assert done.stderr.splitlines()[:2] == [f"--config: read {CONFIGS}/rstp.py", f"--data: read {CONFIGS}/icfg.py"]


def test_the_package_contains_every_config_of_the_configs_folder():
  names = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"__init__", "common"}
  assert set(config_file.package_configs()) == names
  assert names >= {"cuhk", "custom", "icfg", "rstp", "toy"}
  assert all(pathlib.Path(path).is_file() for path in config_file.package_configs().values())
