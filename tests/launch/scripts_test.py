"""All launch scripts: strict mode, no shellcheck findings, documented settings, and no calls under DRY_RUN."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.commands import ROOT
from tests.launch.checkout import SETTINGS, Checkout

LAUNCH = ROOT / "launch"
SCRIPTS = [path for path in sorted(LAUNCH.iterdir()) if path.suffix in (".sh", ".sbatch")]
EXAMPLE = (LAUNCH / "settings.env.example").read_text()
NAMES = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)
# {command: a setting that it requires}.
COMMANDS = {
  ("tpu.sh", "create"): "ZONE",
  ("tpu.sh", "setup"): "PROJECT",
  ("tpu.sh", "run"): "WORKDIR",
  ("tpu.sh", "log"): "NAME",
  ("tpu.sh", "stop"): "GRACE_SECONDS",
  ("tpu.sh", "delete"): "NAME",
  ("slurm.sh",): "NODES",
  ("sky.sh",): "SKY_NODES",
  ("local.sh", "2"): "CONFIG",
}


def test_shellcheck_finds_nothing():
  shellcheck = pathlib.Path(sys.executable).parent / "shellcheck"
  assert shellcheck.exists(), "shellcheck is missing; install requirements-dev.txt"
  done = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_stops_at_its_first_error(script):
  code = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
  assert code[0] in ("set -euo pipefail", 'source "$(dirname "${BASH_SOURCE[0]}")/common.sh"')


def test_the_readme_is_short_and_names_every_file():
  readme = (LAUNCH / "README.md").read_text()
  assert len(readme.splitlines()) < 50
  files = {path.name for path in LAUNCH.iterdir()} - {"README.md", "settings.env", ".shellcheckrc"}
  assert {name for name in files if f"`{name}`" not in readme} == set()


def test_every_setting_is_documented_and_read():
  assert sorted(NAMES) == sorted({*SETTINGS, "WORKDIR", "DATA_DIR", "MOUNT_POINT"})
  code = "".join(script.read_text() for script in SCRIPTS)
  for name in NAMES:
    explained = rf"^{name}=.*\s# .|^# .*\n{name}="
    assert re.search(explained, EXAMPLE, re.MULTILINE), f"{name} has no comment"
    assert re.search(rf"\b{name}\b", code), f"no script reads {name}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_missing_setting_or_settings_file_is_reported_in_one_line(tmp_path, command):
  checkout = Checkout(tmp_path, SHARED="gs://bucket", **{COMMANDS[command]: None})
  assert_rejected(checkout.run(*command), f"error: {COMMANDS[command]} is not set; set it in launch/settings.env\n")
  (checkout.folder / "launch/settings.env").unlink()
  assert_rejected(
    checkout.run(*command), "launch/settings.env does not exist; copy launch/settings.env.example to it and fill it in"
  )
  assert checkout.calls() == []


def test_another_settings_file_can_be_used(tmp_path):
  checkout = Checkout(tmp_path)
  (checkout.folder / "launch/settings.env").rename(tmp_path / "mine.env")
  assert checkout.run("slurm.sh", SETTINGS=f"{tmp_path}/mine.env").returncode == 0


@pytest.mark.parametrize(
  ("name", "command"), [("CREATE_FLAGS", ("tpu.sh", "create")), ("SKY_NODES", ("local.sh", "2"))]
)
def test_a_missing_setting_and_an_empty_required_setting_are_rejected(tmp_path, name, command):
  checkout = Checkout(tmp_path)
  checkout.write_settings(**{name: None})
  assert_rejected(checkout.run(*command), f"error: {name} is not set; set it in launch/settings.env\n")
  checkout.write_settings(NAME="", CONFIG="")
  assert_rejected(checkout.run(*command), " is empty; set it in launch/settings.env\n")


@pytest.mark.parametrize("command", [("tpu.sh", "setup"), ("slurm.sh",), ("local.sh", "2")], ids=" ".join)
@pytest.mark.parametrize(
  ("name", "address", "message"),
  [
    ("WORKDIR", "s3://bucket/runs", "it must be a path or gs://BUCKET/FOLDER"),
    ("DATA_DIR", "gs://bucket/runs", "it must be a path: set COPY_DATA_FROM to copy data there"),
  ],
)
def test_unsupported_urls_are_rejected(tmp_path, command, name, address, message):
  checkout = Checkout(tmp_path, **{name: address})
  assert_rejected(checkout.run(*command), f"error: {name} is {address}; {message}\n")
  assert checkout.calls() == []


@pytest.mark.parametrize(
  "command", [("tpu.sh",), ("tpu.sh", "crate"), ("local.sh",), ("local.sh", "two"), ("local.sh", "0")]
)
def test_a_wrong_call_prints_the_usage(tmp_path, command):
  checkout = Checkout(tmp_path)
  assert_rejected(checkout.run(*command), f"error: usage: launch/{command[0]} ")
  assert checkout.calls() == []


# Verbs that must have run before.
PREREQUISITES = {"setup": ["create"], "run": ["create", "setup"], "stop": ["create", "setup"], "delete": ["create"]}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != ("tpu.sh", "log")], ids=" ".join)
def test_the_output_of_a_dry_run_does_the_same_as_the_script(tmp_path, command):
  checkout = Checkout(tmp_path, FLAGS=["--config.data.image_size=(384,128)", "--config.x=a  b's"])
  if command == ("sky.sh",):
    checkout.write_settings(SHARED="gs://bucket")
  for verb in PREREQUISITES.get(command[-1], []):
    assert checkout.run("tpu.sh", verb).returncode == 0
  checkout.clear_records()
  printed = checkout.run(*command, DRY_RUN="1")
  assert (printed.returncode, checkout.calls()) == (0, [])
  shutil.copytree(tmp_path / "standins", tmp_path / "before")
  assert checkout.run(*command).returncode == 0
  calls = sorted(without_duplicates(checkout.calls()))
  shutil.rmtree(tmp_path / "standins")
  (tmp_path / "before").rename(tmp_path / "standins")
  assert checkout.paste(printed.stdout).returncode == 0
  assert calls
  assert sorted(without_duplicates(checkout.calls())) == calls


def test_a_dry_run_of_the_log_calls_nothing(tmp_path):
  checkout = Checkout(tmp_path)
  assert "tail -n 50 -F tireid_jax_run/log" in checkout.run("tpu.sh", "log", DRY_RUN="1").stdout
  assert checkout.calls() == []


def without_duplicates(calls):
  """Returns calls without duplicates: how often training is polled varies, and both workers make the same calls."""
  return [call for index, call in enumerate(calls) if call not in calls[:index]]


def assert_rejected(done, message):
  assert done.returncode == 2
  assert message in done.stderr
  assert len(done.stderr.splitlines()) == 1
