"""A small run of both stages and its data, into which faults are injected: the real commands with flags that keep it
short."""

import dataclasses
import math
import os
import pathlib
import signal
import subprocess
import time

from tests.commands import ROOT, command, environment
from tests.data.trees import make_tree
from tests.data.vocabularies import make_tokenizer
from tests.models.trees import write_hf_clip
from tireid_jax.models.variants import Tower, Variant

# A command that takes longer hangs.
TIMEOUT_S = 900
_POLL_S = 0.002
# Steps per epoch and per stage. Log records and checkpoints also occur within epochs.
EPOCH_STEPS, STAGE_STEPS = 6, 12
FIELDS = (
  "config.model.variant=from_weights",
  "config.model.remat=none",
  "config.data.image_size=(48,24)",
  "config.data.caption_lengths=(77,)",
  "config.prompts.depth=2",
  "config.prompts.dropout=0.1",
  "config.evaluation.batch_size=16",
  "config.log_every_steps=3",
  "config.checkpoint_every_steps=4",
  *(f"config.stage{n}.epochs={STAGE_STEPS // EPOCH_STEPS}" for n in (1, 2)),
  *(f"config.stage{n}.{field}" for n in (1, 2) for field in ("batch_size=8", "augment.pad=2", "adam_eps=1e-8")),
  # High, so that the best checkpoint is not the last one.
  *(f"config.stage{n}.learning_rate=3e-3" for n in (1, 2)),
)


@dataclasses.dataclass(frozen=True)
class Scenario:
  """Raw and prepared data, weights and a vocabulary in a folder.

  Attributes:
    folder: pathlib.Path.
    flags: of `main` and `data.prepare`, without --workdir, --stage and --raw.
    epoch_steps: steps per epoch.
  """

  folder: pathlib.Path
  flags: tuple[str, ...]
  epoch_steps: int

  def main(self, workdir, *more, stage="all"):
    """Returns the arguments of a run."""
    return ("main", *self.flags, f"--stage={stage}", f"--workdir={workdir}", *more)

  def prepare(self, raw, data_dir, image_size):
    """Returns the arguments for preparing raw data at another image size, with CLIP's own vocabulary."""
    others = [flag for flag in self.flags if not flag.startswith("--config.data")]
    more = (f"--raw={raw}", f"--config.data_dir={data_dir}", f"--config.data.image_size={image_size}")
    return ("data.prepare", *others, *more)


def make(folder, *, num_train=8):
  """Creates a Scenario in a folder and prepares its data.

  Args:
    folder: pathlib.Path, created if it does not exist.
    num_train: training identities, each with three images and two captions per image; 8 give EPOCH_STEPS.
  """
  make_tree(folder / "raw", "rstp_reid", num_ids={"train": num_train, "val": 5, "test": 5})
  vocabulary = make_tokenizer(folder / "words")
  variant = Variant(
    Tower(64, 2, 2), Tower(32, 2, 1), patch_size=16, embedding_size=32, native_image_size=(48, 48),
    vocabulary_size=len(vocabulary), end_token=len(vocabulary) - 1,
  )  # fmt: skip
  write_hf_clip(folder / "clip", variant)
  flags = (
    "--config=configs/rstp.py", *(f"--{field}" for field in FIELDS), f"--config.data_dir={folder}/data",
    f"--config.data.tokenizer={folder}/words", f"--config.pretrained={folder}/clip",
  )  # fmt: skip
  scenario = Scenario(folder, flags, num_train * 6 // 8)
  succeed("data.prepare", *flags, f"--raw={folder}/raw")
  return scenario


class Command:
  """A running command with its output in a file; a context manager that kills it on exit."""

  def __init__(self, log, module, *arguments, **changes):
    """Starts `python -m tireid_jax.MODULE ...`; `log` is the file for its output, `changes` environment variables."""
    self.log = log
    with log.open("ab") as output:
      self.process = subprocess.Popen(
        command(module, *arguments), cwd=ROOT, env=environment(**changes), stdout=output, stderr=subprocess.STDOUT
      )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.kill()

  def wait_until(self, is_reached):
    """Waits for a condition; returns False if the command ended before."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_reached():
      if self.process.poll() is not None:
        return is_reached()
      if time.monotonic() > deadline:
        raise TimeoutError(f"{TIMEOUT_S} s are over: {self.output()[-2000:]}")
      time.sleep(_POLL_S)
    return True

  def wait_cpu(self, seconds):
    """Waits until it has used more seconds of CPU time, which does not depend on other load, or has ended."""
    until = self._cpu_seconds() + seconds
    self.wait_until(lambda: self._cpu_seconds() >= until)

  def _cpu_seconds(self):
    try:
      fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
      return math.inf
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime and stime

  def kill(self):
    """Sends SIGKILL; returns whether it was still running."""
    self.process.kill()
    return self.process.wait() == -signal.SIGKILL

  def wait(self):
    """Returns the exit status."""
    return self.process.wait(TIMEOUT_S)

  def output(self):
    """Returns its standard output and standard error so far."""
    return self.log.read_text(errors="replace")


def run(module, *arguments, **changes):
  """Runs a command and returns the CompletedProcess, with output as text."""
  return subprocess.run(
    command(module, *arguments), cwd=ROOT, env=environment(**changes), capture_output=True, text=True,
    timeout=TIMEOUT_S,
  )  # fmt: skip


def succeed(module, *arguments, **changes):
  """Runs a command that must succeed and returns the CompletedProcess."""
  done = run(module, *arguments, **changes)
  if done.returncode:
    raise AssertionError(f"{module} ended with {done.returncode}: {done.stderr[-3000:]}")
  return done
