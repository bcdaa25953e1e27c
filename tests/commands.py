"""Runs the project's commands in separate processes, as a user does."""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

# Overrides that make runs of the real configs small.
SMALL = (
  "--config.model.variant=tiny",
  "--config.data.image_size=(48,24)",
  "--config.prompts.depth=2",
  "--config.evaluation.batch_size=16",
  "--config.log_every_steps=1",
  *(f"--config.stage{n}.{field}" for n in (1, 2) for field in ("epochs=2", "batch_size=8", "augment.pad=2")),
)

# The demo with a few steps of each stage, one caption length and few programs to compile.
SMALLEST_DEMO = (
  "--config.model.blocks=loop", "--config.data.caption_lengths=(77,)",
  *(f"--config.stage{n}.{field}" for n in (1, 2) for field in ("epochs=1", "batch_size=16")),
  *(f"--config.toy.num_{split}_ids={num}" for split, num in (("train", 8), ("val", 4), ("test", 60))),
  "--config.toy.images_per_id=4",
)  # fmt: skip


def command(module, *arguments):
  """Returns the argument list of `python -m tireid_jax.MODULE ...`."""
  return [sys.executable, "-m", f"tireid_jax.{module}", *map(str, arguments)]


def environment(**changes):
  """Returns the environment for a command on CPU; commands share a persistent compilation cache."""
  cache = pathlib.Path(tempfile.gettempdir()) / f"tireid_jax_compiled_{os.getuid()}"
  return {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    **changes,
  }


def run(module, *arguments, folder=ROOT, **changes):
  """Runs a command in a folder and returns the CompletedProcess, with output as text."""
  return subprocess.run(
    command(module, *arguments), cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=600
  )


def succeed(module, *arguments):
  """Runs a command that must succeed and returns its standard output."""
  done = run(module, *arguments)
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def start(module, *arguments):
  """Starts a command and returns its Popen."""
  return subprocess.Popen(
    command(module, *arguments),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
