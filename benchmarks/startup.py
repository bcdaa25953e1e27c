"""Measures the time until training of stage 1 or evaluation is at work: ViT-B/16 at 384x128, on the CPU.

  python -m benchmarks.startup

It times a command from the start of its process until its progress bar first advances, and then ends it. For
`tireid_jax.main`, with batches of 8, that is the dispatch of the first step, before its losses are available. For
`tireid_jax.evaluate` it is the first encoded batch, of a single image, so that little of the time is encoding. Included
are imports, checks, reading a file of random weights, opening the prepared data (64 synthetic photographs) and
compilation.

A cold start has an empty compilation cache; a warm start repeats the command with the cache that the first one filled.
Files are in the page cache both times. Prints a line of JSON.
"""

import argparse
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import termios
import time

from benchmarks import loader, measuring, weights
from tireid_jax.data import prepare

ROOT = pathlib.Path(__file__).parents[1]
VARIANT = "ViT-B/16"
NUM_IMAGES = 64
# Each entry is a quarter of the images, in order; every identity has four of them.
SPLITS = ("train", "train", "val", "test")
# A command that has not started work by then is considered to hang.
TIMEOUT_S = 600
# Terminal output that shows that a command is at work.
SIGNS = {"main": rb"stage 1:[^\r\n]*\| [1-9]\d*/\d", "evaluate": rb"encoding images:[^\r\n]*\| [1-9]\d*/\d"}


def write_data(folder):
  """Writes a prepared CUHK-PEDES of synthetic photographs to `folder`/data."""
  loader.make_raw(folder / "raw", NUM_IMAGES)
  annotations = folder / "raw" / "CUHK-PEDES" / "reid_raw.json"
  entries = json.loads(annotations.read_text())
  for number, entry in enumerate(entries):
    entry["split"] = SPLITS[number * len(SPLITS) // len(entries)]
  annotations.write_text(json.dumps(entries))
  prepare.prepare("cuhk_pedes", folder / "raw", folder / "data", loader.SIZE, show_progress=False)


def commands(folder):
  """Returns {module: its flags}, those of `main` without --workdir."""
  common = ["--config=configs/cuhk.py", f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/weights"]
  return {
    "main": [*common, "--stage=1", "--config.stage1.batch_size=8"],
    "evaluate": [*common, "--stage=pretrained", "--split=test", "--config.evaluation.batch_size=1"],
  }


def seconds_to_work(module, arguments, cache):
  """Returns the seconds from a command's start until its terminal shows that it is at work; then kills it."""
  environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  screen, terminal = pty.openpty()
  termios.tcsetwinsize(terminal, (24, 120))
  began = time.monotonic()
  process = subprocess.Popen(
    [sys.executable, "-m", f"tireid_jax.{module}", *arguments],
    cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
  )  # fmt: skip
  os.close(terminal)
  try:
    shown = b""
    while not re.search(SIGNS[module], shown):
      if not select.select([screen], [], [], max(0, began + TIMEOUT_S - time.monotonic()))[0]:
        raise RuntimeError(f"{module} was not at work after {TIMEOUT_S} s; its terminal: {_end(shown)}")
      try:
        shown += os.read(screen, 2**16)
      except OSError as error:  # Linux raises it once no process has the terminal open
        raise RuntimeError(f"{module} ended before it was at work; its terminal: {_end(shown)}") from error
    return time.monotonic() - began
  finally:
    process.kill()
    process.wait()
    os.close(screen)


def _end(shown):
  return shown[-2000:].decode(errors="replace").strip()


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.parse_args()
  seconds = {}
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    (folder / "weights").mkdir()
    weights.write_weights(folder / "weights", VARIANT)
    write_data(folder)
    for module, flags in commands(folder).items():
      name = "start" if module == "main" else module
      for state in ("cold", "warm"):
        workdir = [f"--workdir={folder}/{state}"] if module == "main" else []
        seconds[f"{name}_{state}_s"] = round(seconds_to_work(module, flags + workdir, folder / f"{module}_cache"), 2)
  measuring.emit(bench="startup", system="tireid_jax", **seconds)


if __name__ == "__main__":
  main()
