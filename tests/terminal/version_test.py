"""What `--version` prints."""

import importlib.metadata
import platform
import re
import subprocess
import tomllib

import jax
import pytest

import tireid_jax
from tests import commands, forked
from tireid_jax.terminal import version


def fields(text):
  return dict(re.split("  +", line, maxsplit=1) for line in text.splitlines())


def test_versions_and_devices_are_those_of_this_process():
  found = fields(version.format_version())
  assert found["Python"] == platform.python_version()
  assert found["orbax-checkpoint"] == importlib.metadata.version("orbax-checkpoint")
  assert {"jax", "jaxlib", "flax", "optax", "numpy", "system"} < set(found)
  assert found["devices"] == f"{jax.local_device_count()} x cpu (cpu)"
  assert "config" not in found


def test_the_digest_ignores_the_order_of_fields_and_nothing_else():
  config = {"seed": 0, "stage1": {"epochs": 1, "losses": {"itc": 1.0}}}
  digest = fields(version.format_version(config))["config"]
  assert re.fullmatch("[0-9a-f]{12}", digest)
  assert fields(version.format_version(dict(reversed(config.items()))))["config"] == digest
  config["stage1"]["losses"]["itc"] = 2.0
  assert fields(version.format_version(config))["config"] != digest


def test_a_missing_backend_is_reported_without_an_error(monkeypatch):
  def fail():
    raise RuntimeError("Unable to initialize backend 'cuda':\n  no device")

  monkeypatch.setattr(jax, "local_devices", fail)
  assert fields(version.format_version())["devices"] == "none (Unable to initialize backend 'cuda': no device)"


@pytest.mark.parametrize("is_modified", [False, True])
def test_the_commit_of_a_checkout_is_part_of_the_version(tmp_path, is_modified):
  def git(*arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()

  git("init")
  (tmp_path / "file").write_text("1")
  git("add", "file")
  git("commit", "-m", "First")
  git("tag", "-a", "v1-rc", "-m", "a tag is not a commit")
  if is_modified:
    (tmp_path / "file").write_text("2")
  expected = f" (commit {git('rev-parse', '--short', 'HEAD')}{', modified' if is_modified else ''})"
  assert version._commit(tmp_path) == expected
  assert version._commit(tmp_path / "no_checkout") == ""


def test_main_prints_the_version_without_a_workdir_and_its_digest_covers_overrides(tmp_path):
  plain = forked.run("main", "--version", "--config=cuhk", folder=tmp_path)
  changed = forked.run("main", "--version", "--config=cuhk", "--config.seed=1", folder=tmp_path)
  assert plain.returncode == changed.returncode == 0, plain.stderr + changed.stderr
  plain, changed = fields(plain.stdout), fields(changed.stdout)
  assert plain.pop("config") != changed.pop("config")
  assert plain == changed
  assert plain["tireid_jax"].startswith(tireid_jax.__version__)
  assert not list(tmp_path.iterdir())


def test_the_package_has_one_version():
  project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())
  assert project["project"]["dynamic"] == ["version"]
  assert project["tool"]["hatch"]["version"] == {"path": "tireid_jax/__init__.py"}
  assert re.fullmatch(r"\d+\.\d+\.\d+", tireid_jax.__version__)
