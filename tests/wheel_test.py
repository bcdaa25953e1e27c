"""The wheel contains everything that the commands need, and no top-level name other than the package."""

import pathlib
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.commands import ROOT, SMALLEST_DEMO, environment

pytestmark = pytest.mark.slow


def call(*arguments, **options):
  """Runs a program and returns its standard output."""
  done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, **options)
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  folder = tmp_path_factory.mktemp("wheel")
  call(sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={folder}", cwd=ROOT)
  (path,) = folder.glob("*.whl")
  return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
  """Returns the Python of an environment with the wheel, whose dependencies come from this environment."""
  folder = tmp_path_factory.mktemp("installed")
  call(sys.executable, "-m", "venv", "--without-pip", folder)
  python = folder / "bin/python"
  call(sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", wheel)
  site = pathlib.Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
  (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
  return python


def test_the_wheel_contains_the_package_with_the_configs_and_no_other_top_level_name(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = {name for name in archive.namelist() if ".dist-info/" not in name}
  folders = {"tireid_jax": ROOT / "tireid_jax", "tireid_jax/configs": ROOT / "configs"}
  assert names == {
    str(pathlib.Path(inside) / file.relative_to(folder))
    for inside, folder in folders.items()
    for file in folder.rglob("*")
    if file.is_file() and "__pycache__" not in file.parts
  }


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(python, tmp_path):
  empty, demo = tmp_path / "empty", tmp_path / "demo"
  empty.mkdir()
  done = subprocess.run(
    [python, "-m", "tireid_jax.demo", f"--to={demo}", *SMALLEST_DEMO], cwd=empty, env=environment(PYTHONPATH=""),
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip
  assert done.returncode == 1, done.stderr[-2000:]  # training this short does not reach the demo's thresholds
  assert done.stderr.startswith(f"--config: read {python.parent.parent}/lib"), done.stderr[:200]
  assert "thresholds: seed 0: " in done.stdout
  assert (demo / "report.html").exists()
  assert not list(empty.iterdir())
