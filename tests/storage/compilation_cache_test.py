"""Compiled programs are cached in the user's cache folder, unless JAX has another one configured or cannot cache."""

import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import pytest

from tests.commands import ROOT, environment
from tireid_jax.storage import compilation_cache

PROGRAM = """
import jax
import pathlib
from tireid_jax.storage import compilation_cache
compilation_cache.enable_persistent_cache()
jax.jit(lambda x: x * 3 + 1)(2.0)
"""


def programs(folder):
  return [path.name for path in folder.rglob("*-cache")]


def files_below(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("is_configured", [False, True])
@pytest.mark.parametrize("is_given", [False, True])
def test_programs_are_cached_in_exactly_one_folder(tmp_path, is_configured, is_given):
  variables = environment(XDG_CACHE_HOME=str(tmp_path / "home"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "configured"))
  if not is_configured:
    del variables["JAX_COMPILATION_CACHE_DIR"]
  program = PROGRAM.replace("cache()", f"cache(pathlib.Path({str(tmp_path / 'given')!r}))" if is_given else "cache()")
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=variables, check=True)
  found = {name for name in ("configured", "given", "home/tireid_jax") if programs(tmp_path / name)}
  assert found == {"configured" if is_configured else "given" if is_given else "home/tireid_jax"}


def test_without_a_home_folder_programs_are_cached_in_the_temporary_folder(tmp_path, monkeypatch):
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)  # not the id of any user
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  assert compilation_cache._users_folder().is_relative_to(tmp_path)


@pytest.mark.parametrize(
  "changes",
  [{"JAX_ENABLE_COMPILATION_CACHE": "0"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}],
  ids=["disabled in JAX", "two CPU devices"],
)
@pytest.mark.parametrize("is_configured", [False, True])
def test_nothing_is_cached_if(tmp_path, changes, is_configured):
  variables = environment(
    XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "configured"), **changes
  )
  if not is_configured:
    del variables["JAX_COMPILATION_CACHE_DIR"]
  subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=variables, check=True)
  assert not programs(tmp_path)


def test_the_least_recently_used_files_are_deleted_first(tmp_path, monkeypatch):
  for name, used, written, size in [
    ("a", 500, 100, 30),
    ("b", 200, 200, 30),
    ("c/d", 100, 300, 30),
    ("e", 400, 50, 30),
  ]:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (used, written))
  compilation_cache.delete_least_recently_used(tmp_path, 120)
  assert files_below(tmp_path) == ["a", "b", "c/d", "e"]
  compilation_cache.delete_least_recently_used(tmp_path, 89)
  assert files_below(tmp_path) == ["a", "e"]
  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "unlink", lambda _: os.remove(tmp_path / "nothing"))  # as if nothing could be deleted
    compilation_cache.delete_least_recently_used(tmp_path, 0)
  compilation_cache.delete_least_recently_used(tmp_path, 0)
  assert files_below(tmp_path) == []
  compilation_cache.delete_least_recently_used(tmp_path / "nowhere", 0)


@pytest.mark.parametrize("is_configured", [False, True])
def test_only_the_default_folder_is_limited_in_size(tmp_path, monkeypatch, is_configured):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(jax.config, "update", lambda *_: None)
  monkeypatch.setitem(jax.config.values, "jax_compilation_cache_dir", str(tmp_path) if is_configured else None)
  folder = tmp_path if is_configured else compilation_cache._users_folder()
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "old").open("wb") as file:
    file.truncate(compilation_cache.MAX_BYTES)  # sparse
  os.utime(folder / "old", (1, 1))
  (folder / "new").write_bytes(b"1")
  compilation_cache.enable_persistent_cache()
  assert files_below(folder) == (["new", "old"] if is_configured else ["new"])
