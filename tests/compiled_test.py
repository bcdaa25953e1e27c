"""Compiled programs are kept where the user's caches are, unless JAX is told of another place or cannot keep them."""

import os
import subprocess
import sys
import tempfile

import pytest

from tests.commands import ROOT, environment
from tireid_jax import compiled

PROGRAM = "import jax; from tireid_jax import compiled; compiled.keep(); jax.jit(lambda x: x * 3 + 1)(2.0)"


def programs(folder):
  return [path.name for path in folder.rglob("*-cache")]


@pytest.mark.parametrize("is_told", [False, True])
def test_programs_are_kept_in_one_place(tmp_path, is_told):
  variables = environment(XDG_CACHE_HOME=str(tmp_path / "home"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "told"))
  if not is_told:
    del variables["JAX_COMPILATION_CACHE_DIR"]
  subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=variables, check=True)
  assert bool(programs(tmp_path / "told")) == is_told
  assert bool(programs(tmp_path / "home" / "tireid_jax")) != is_told


def test_without_a_home_programs_are_kept_in_the_temporary_folder(tmp_path, monkeypatch):
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)  # of no user
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  assert compiled._users_folder().is_relative_to(tmp_path)


@pytest.mark.parametrize(
  "changes",
  [{"JAX_ENABLE_COMPILATION_CACHE": "0"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}],
  ids=["jax is told so", "there are two cpu devices"],
)
@pytest.mark.parametrize("is_told", [False, True])
def test_nothing_is_kept_where(tmp_path, changes, is_told):
  variables = environment(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "told"), **changes)
  if not is_told:
    del variables["JAX_COMPILATION_CACHE_DIR"]
  subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=variables, check=True)
  assert not programs(tmp_path)
