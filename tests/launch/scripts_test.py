"""What holds for all launch scripts: strict, clean, explained, and silent under DRY_RUN."""

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
# Every way in, and a setting that it cannot do without.
WAYS = {
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


def test_every_setting_is_explained_and_read():
  assert sorted(NAMES) == sorted({*SETTINGS, "WORKDIR", "DATA_DIR", "MOUNT_POINT"})
  code = "".join(script.read_text() for script in SCRIPTS)
  for name in NAMES:
    explained = rf"^{name}=.*\s# .|^# .*\n{name}="
    assert re.search(explained, EXAMPLE, re.MULTILINE), f"{name} has no comment"
    assert re.search(rf"\b{name}\b", code), f"no script reads {name}"


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_missing_settings_are_one_line(tmp_path, way):
  checkout = Checkout(tmp_path, SHARED="gs://bucket", **{WAYS[way]: None})
  refused(checkout.run(*way), f"error: {WAYS[way]} is not set; set it in launch/settings.env\n")
  (checkout.folder / "launch/settings.env").unlink()
  refused(
    checkout.run(*way), "launch/settings.env does not exist; copy launch/settings.env.example to it and fill it in"
  )
  assert checkout.calls() == []


def test_another_file_of_settings_can_be_named(tmp_path):
  checkout = Checkout(tmp_path)
  (checkout.folder / "launch/settings.env").rename(tmp_path / "mine.env")
  assert checkout.run("slurm.sh", SETTINGS=f"{tmp_path}/mine.env").returncode == 0


@pytest.mark.parametrize(("name", "way"), [("CREATE_FLAGS", ("tpu.sh", "create")), ("SKY_NODES", ("local.sh", "2"))])
def test_a_setting_is_left_empty_but_not_out(tmp_path, name, way):
  checkout = Checkout(tmp_path)
  checkout.write_settings(**{name: None})
  refused(checkout.run(*way), f"error: {name} is not set; set it in launch/settings.env\n")
  checkout.write_settings(NAME="", CONFIG="")
  refused(checkout.run(*way), " is empty; set it in launch/settings.env\n")


@pytest.mark.parametrize("way", [("tpu.sh", "setup"), ("slurm.sh",), ("local.sh", "2")], ids=" ".join)
@pytest.mark.parametrize(
  ("name", "address", "message"),
  [
    ("WORKDIR", "s3://bucket/runs", "it must be a path or gs://BUCKET/FOLDER"),
    ("DATA_DIR", "gs://bucket/runs", "it must be a path: set COPY_DATA_FROM to copy data there"),
  ],
)
def test_an_address_is_no_folder(tmp_path, way, name, address, message):
  checkout = Checkout(tmp_path, **{name: address})
  refused(checkout.run(*way), f"error: {name} is {address}; {message}\n")
  assert checkout.calls() == []


@pytest.mark.parametrize(
  "way", [("tpu.sh",), ("tpu.sh", "crate"), ("local.sh",), ("local.sh", "two"), ("local.sh", "0")]
)
def test_a_wrong_call_shows_how(tmp_path, way):
  checkout = Checkout(tmp_path)
  refused(checkout.run(*way), f"error: usage: launch/{way[0]} ")
  assert checkout.calls() == []


# What must have been done before.
BEFORE = {"setup": ["create"], "run": ["create", "setup"], "stop": ["create", "setup"], "delete": ["create"]}


@pytest.mark.parametrize("way", [way for way in WAYS if way != ("tpu.sh", "log")], ids=" ".join)
def test_what_a_dry_run_prints_does_the_same_as_the_script(tmp_path, way):
  checkout = Checkout(tmp_path, FLAGS=["--config.data.image_size=(384,128)", "--config.x=a  b's"])
  if way == ("sky.sh",):
    checkout.write_settings(SHARED="gs://bucket")
  for verb in BEFORE.get(way[-1], []):
    assert checkout.run("tpu.sh", verb).returncode == 0
  checkout.forget()
  printed = checkout.run(*way, DRY_RUN="1")
  assert (printed.returncode, checkout.calls()) == (0, [])
  shutil.copytree(tmp_path / "standins", tmp_path / "before")
  assert checkout.run(*way).returncode == 0
  calls = sorted(without_second_looks(checkout.calls()))
  shutil.rmtree(tmp_path / "standins")
  (tmp_path / "before").rename(tmp_path / "standins")
  assert checkout.paste(printed.stdout).returncode == 0
  assert calls
  assert sorted(without_second_looks(checkout.calls())) == calls


def test_a_dry_run_of_the_log_calls_nothing(tmp_path):
  checkout = Checkout(tmp_path)
  assert "tail -n 50 -F tireid_jax_run/log" in checkout.run("tpu.sh", "log", DRY_RUN="1").stdout
  assert checkout.calls() == []


def without_second_looks(calls):
  """Returns calls without repetitions: training may still run at the first look, and both workers do the same."""
  return [call for place, call in enumerate(calls) if call not in calls[:place]]


def refused(done, message):
  assert done.returncode == 2
  assert message in done.stderr
  assert len(done.stderr.splitlines()) == 1
