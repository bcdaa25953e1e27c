"""A copy of the files that the launch scripts need, with its own settings and stand-in programs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from tests.commands import ROOT, environment
from tests.launch import standins

SETTINGS = {  # in addition to WORKDIR, DATA_DIR and MOUNT_POINT, which are next to the copy
  "CONFIG": "configs/toy.py",
  "STAGE": "all",
  "FLAGS": [],
  "MAX_TRIES": 3,
  "POLL_SECONDS": 0,
  "GRACE_SECONDS": 5,
  "PORT": 8476,
  "SHARED": "",
  "COPY_DATA_FROM": "",
  "NAME": "tireid",
  "PROJECT": "my-project",
  "ZONE": "us-west4-a",
  "ACCELERATOR_TYPE": "v5litepod-16",
  "RUNTIME_VERSION": "v2-alpha-tpuv5-lite",
  "NUM_SLICES": 1,
  "SPOT": 1,
  "CREATE_FLAGS": [],
  "SSH_FLAGS": [],
  "NODES": 2,
  "GPUS_PER_NODE": 8,
  "CPUS_PER_GPU": 4,
  "TIME": "24:00:00",
  "SBATCH_FLAGS": [],
  "SKY_ACCELERATORS": "tpu-v5litepod-16",
  "SKY_NODES": 1,
  "SKY_FLAGS": [],
}
# Reached only if something hangs.
TIMEOUT_S = 600
# The environment that runs the tests.
ENVIRONMENT = pathlib.Path(sys.prefix)
# Flags that a shell would split or expand if they were not quoted.
OVERRIDES = ["--config.data.image_size=(384, 128)", '--config.x=it\'s "$HOME" * and  two spaces']
# The trainer's log before and after its first step.
BEFORE = "stage 1:   0%|                              | 0/12 [00:00<?, ?step/s]"
AFTER = f"{BEFORE}\nstage 1:   8%|##                            | 1/12 [00:22<04:07, 22.49s/step]"
PROGRAMS = (
  "gcloud", "sbatch", "scontrol", "srun", "sky", "uv", "sudo", "mountpoint", "curl", "rsync", "lsb_release",
)  # fmt: skip


class Checkout:
  """A copy of the launch scripts, in which the programs that they call are stand-ins.

  Args:
    folder: where the copy is created.
    trains: whether to include the real trainer and an environment for it, rather than a stand-in.
    settings: values for launch/settings.env (text, number or list), which override SETTINGS.
  """

  def __init__(self, folder, *, trains=False, **settings):
    self.folder, self.standins = pathlib.Path(folder) / "checkout", pathlib.Path(folder) / "standins"
    shutil.copytree(ROOT / "launch", self.folder / "launch", ignore=shutil.ignore_patterns("settings.env"))
    for name in ("requirements.txt", "requirements-gcs.txt"):
      shutil.copy(ROOT / name, self.folder)
    standins.install(self.standins, *PROGRAMS)
    for name in ("configs", "tireid_jax"):
      if trains:
        shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
      else:
        (self.folder / name).mkdir()
    if trains:
      (self.folder / ".venv").symlink_to(ENVIRONMENT)
    else:
      (self.folder / ".venv/bin").mkdir(parents=True)
      standins.write_program(self.folder / ".venv/bin/python", "trainer")
    self._trainer_variables = {"ENVIRONMENT": str(ENVIRONMENT)} if trains else {}
    self.write_settings(**settings)

  def write_settings(self, **settings):
    """Writes launch/settings.env and omits settings that are None."""
    shared = self.folder.parent / "shared"
    folders = {"MOUNT_POINT": shared, "WORKDIR": shared / "run", "DATA_DIR": shared / "data"}
    settings = {**SETTINGS, **folders, **settings}
    lines = [f"{name}={_bash(value)}\n" for name, value in settings.items() if value is not None]
    (self.folder / "launch/settings.env").write_text("".join(lines))

  def plan(self, *, slices=None, training=None):
    """Configures what the stand-ins do, as described in `standins`."""
    for name, data in (("slices", slices), ("training", training)):
      if data is not None:
        (self.standins / f"{name}.json").write_text(json.dumps(data))

  def environment(self, **changes):
    path = f"{self.standins}/bin:{os.environ['PATH']}"
    base = {**environment(), "PATH": path, "STANDINS": str(self.standins), **self._trainer_variables}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}

  def start(self, script, *arguments, **changes):
    """Starts a launch script in its own process group and returns its Popen."""
    return subprocess.Popen(
      ["bash", f"launch/{script}", *map(str, arguments)], cwd=self.folder, env=self.environment(**changes), text=True,
      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip

  def run(self, script, *arguments, **changes):
    """Runs a launch script to its end and returns the CompletedProcess."""
    process = self.start(script, *arguments, **changes)
    output, errors = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

  def paste(self, lines):
    """Runs lines as if they were pasted into a shell."""
    return subprocess.run(
      ["bash"], input=lines, cwd=self.folder, env=self.environment(), text=True, capture_output=True, timeout=TIMEOUT_S
    )

  def records(self, *programs):
    """Returns the records of all calls so far, or only those of these programs."""
    paths = sorted((self.standins / standins.CALLS).glob("*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    return [call for call in records if not programs or call["program"] in programs]

  def calls(self, *programs):
    """Returns the argument lists of the calls that `records` returns."""
    return [call["args"] for call in self.records(*programs)]

  def clear_records(self):
    """Deletes the records of calls."""
    shutil.rmtree(self.standins / standins.CALLS, ignore_errors=True)


def wait_until_ended(checkout):
  """Waits until no trainer process is left."""
  ids = ",".join(str(call["id"]) for call in checkout.records("trainer"))
  ps = ["ps", "-o", "stat=", "-p", ids]
  # A terminated process stays a zombie until its parent waits for it.
  wait_for(lambda: all(state[0] == "Z" for state in subprocess.run(ps, capture_output=True, text=True).stdout.split()))


def wait_for(is_reached, timeout_s=TIMEOUT_S):
  """Polls until a condition holds."""
  deadline = time.monotonic() + timeout_s
  while not is_reached():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def _bash(value):
  """Returns a value as a bash literal."""
  if isinstance(value, list):
    return "(" + " ".join(map(_bash, value)) + ")"
  return "'" + str(value).replace("'", "'\\''") + "'"


def failing(text, *, status=1, log=BEFORE, after_s=0):
  """Returns an entry of `training` for a process that fails and whose log ends with this error."""
  text = f"{log}\nTraceback (most recent call last):\n  File 'x.py', line 1\n{text}"
  return {"prints": text, "status": status, "after_s": after_s}
