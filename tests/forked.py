"""Runs commands in forks of one process that has imported what they import: most of the time of a short command.

A process of its own, as in tests/commands.py, for whatever depends on how a command starts or ends.
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
# No command's own module: runpy warns of one that is imported already.
_PRELOADED = [
  "tests.forked", "tireid_jax.training.loop", "tireid_jax.data.prepared.builders", "tireid_jax.data.checks.doctor",
  "tensorflow_datasets", "safetensors.numpy", "tokenizers",
]  # fmt: skip
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_PRELOADED)


def run(module, *arguments, folder=commands.ROOT, **changes):
  """Runs a command as `commands.run` does, and in a process of its own if variables change that a start alone reads.

  Python reads its own when it starts, JAX when it is imported.
  """
  if any(name.startswith(("JAX_", "PYTHON")) for name in changes):
    return commands.run(module, *arguments, folder=folder, **changes)
  with mock.patch.dict(os.environ, commands.environment()):  # as it is when JAX is imported
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
  """Runs a command that must end well and returns its standard output."""
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
