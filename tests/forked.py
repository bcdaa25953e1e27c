"""Runs commands in forks of one process that has already imported their modules, which takes a short command most time.

Tests of how a command starts or exits use separate processes, as in tests/commands.py.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from unittest import mock

from tests import commands

TIMEOUT_S = 600
# Does not contain modules of commands, because runpy warns if a module is already imported.
_PRELOADED = [
  "tests.forked", "tireid_jax.training.loop", "tireid_jax.data.prepared.builders", "tireid_jax.data.checks.doctor",
  "tensorflow_datasets", "safetensors.numpy", "tokenizers",
]  # fmt: skip
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_PRELOADED)


def run(module, *arguments, folder=commands.ROOT, **changes):
  """Runs a command like `commands.run`, in a separate process if it changes variables that are only read at start-up.

  Python reads its variables when it starts, JAX when it is imported.
  """
  if any(name.startswith(("JAX_", "PYTHON")) for name in changes):
    return commands.run(module, *arguments, folder=folder, **changes)
  with mock.patch.dict(os.environ, commands.environment()):  # the environment when JAX is imported
    forkserver.ensure_running()
  with tempfile.TemporaryDirectory() as scratch:
    outputs = [str(pathlib.Path(scratch) / name) for name in ("stdout", "stderr")]
    environment = commands.environment(**changes)
    process = _CONTEXT.Process(target=_command, args=(module, arguments, folder, environment, outputs))
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
      process.kill()
      raise subprocess.TimeoutExpired(module, TIMEOUT_S)
    written = [pathlib.Path(output).read_text() for output in outputs]
  return subprocess.CompletedProcess([module, *arguments], process.exitcode, *written)


def succeed(module, *arguments):
  """Runs a command that must succeed and returns its standard output."""
  done = run(module, *arguments)
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def _command(module, arguments, folder, environment, outputs):
  for number, output in enumerate(outputs, start=1):
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, number)
    os.close(file)
  os.chdir(folder)
  os.environ.clear()
  os.environ.update(environment)
  sys.argv = [module, *map(str, arguments)]
  runpy.run_module(f"tireid_jax.{module}", run_name="__main__", alter_sys=True)
