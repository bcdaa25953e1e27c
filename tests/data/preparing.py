"""Prepares small raw data sets, for tests of preparation."""

import pathlib
import subprocess
import sys

from tireid_jax.data import prepare

SIZE = (24, 16)
REPOSITORY = pathlib.Path(__file__).parents[2]


def run_prepare(name, tmp_path, raw="raw", size=SIZE, data="data", **options):
  return prepare.prepare(name, tmp_path / raw, tmp_path / data, size, show_progress=False, **options)


def files_below(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def contents(data_dir):
  """Returns {relative path: content} of the files below a folder."""
  return {path: (data_dir / path).read_bytes() for path in files_below(data_dir) if (data_dir / path).is_file()}


def run_command(tmp_path, *arguments):
  """Runs the command for CUHK-PEDES and returns the CompletedProcess, with text output."""
  command = [sys.executable, "-m", "tireid_jax.data.prepare", "--config=configs/cuhk.py"]
  command += [f"--config.data_dir={tmp_path / 'data'}", "--config.data.image_size=(24,16)", *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
