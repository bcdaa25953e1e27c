"""Storage faults on real file systems: a command reports them, loses no data, and succeeds after they are repaired.

Each case starts from a run that was stopped after two of its three checkpoints, the first of which is the best, or from
a trained run that has not been scored, or from a finished run.
"""

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable

import numpy as np

from tests import small_disk
from tests.faults import equality, scenario
from tireid_jax.workdir import digests

# Steps of checkpoints of stage 1 of a scenario's run.
BEST, NEWEST, LAST = 6, 8, 12
_DISK_MIB = 64
_KIB = 2**10
_SIZE_LIMIT_MIB = 0.125


@dataclasses.dataclass(frozen=True)
class Case:
  """A fault and the expected behaviour of a command.

  Attributes:
    name: name of the fault.
    command: "resume", "score" (a run whose training is done), "evaluate", "export", "dump" or "prepare".
    status: exit status.
    says: text of an expected line in standard error or else in standard output.
    damage: function of the stage's folder that is called before the command.
    free: free bytes on the disk; None for enough.
    is_read_only: whether the disk is read-only.
    is_limited: whether file sizes are limited to _SIZE_LIMIT_MIB.

  A command that fails must succeed once the fault is repaired. The results of a run must then, or at once if it did not
  fail, be equal to those without a fault.
  """

  name: str
  command: str
  status: int
  says: str
  damage: Callable | None = None
  free: int | None = None
  is_read_only: bool = False
  is_limited: bool = False

  @property
  def needs_mount(self):
    return self.free is not None or self.is_read_only


@dataclasses.dataclass
class Outcome:
  """The result of a command: its exit status, the expected line of output, and faults of the output and the files."""

  case: str
  command: str
  status: int
  line: str
  faults: list[str]
  seconds: float


def _files(stage_folder, steps, pattern):
  """Yields the largest file that matches a pattern in each of some checkpoints."""
  for step in steps:
    found = [path for path in (stage_folder / f"checkpoints/{step}").glob(pattern) if path.is_file()]
    yield max(found, key=lambda path: (path.stat().st_size, path))


def damage(how, *steps, pattern="variables/**/d/*"):
  """Returns a function that damages a file in each of some checkpoints: "truncated", "missing" or "flipped"."""

  def apply(stage_folder):
    for path in _files(stage_folder, steps, pattern):
      content = bytearray(path.read_bytes())
      path.unlink()
      if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
      elif how == "flipped":
        for position in np.random.default_rng(0).integers(0, len(content), 200):
          content[position] ^= 0xFF
        path.write_bytes(content)

  return apply


def remove_digests(stage_folder):
  shutil.rmtree(stage_folder / "digests")


# Files of a checkpoint by their purpose.
_PATTERNS = {
  "array data": "variables/**/d/*", "manifest": "variables/manifest.ocdbt", "array metadata": "variables/_METADATA",
  "optimiser": "optimizer/**/d/*", "our metadata": "metadata/metadata", "Orbax's metadata": "_CHECKPOINT_METADATA",
  "score": "metrics/metrics", "commit mark": "commit_success.txt",
}  # fmt: skip


def make_cases():
  """Returns every Case."""
  cases = [
    Case(f"newest: {name} {how}", "resume", 0, f"checkpoint {NEWEST} in", damage(how, NEWEST, pattern=pattern))
    for name, pattern in _PATTERNS.items()
    for how in (("truncated", "missing", "flipped") if name == "array data" else ("missing",))
  ]
  for how in ("truncated", "missing", "flipped"):
    both = damage(how, BEST, NEWEST)
    cases += [
      Case(f"best: array data {how}", "evaluate", 2, f"checkpoints/{BEST} is damaged", damage(how, BEST)),
      Case(f"best: array data {how}", "resume", 2, f"checkpoints/{BEST} is damaged", damage(how, BEST)),
      Case(f"all: array data {how}", "resume", 2, "are damaged", both),
    ]
  cases += [
    Case("digests missing", "resume", 0, "has no digests", remove_digests),
    *(Case(f"disk full, {free // _KIB} KiB left", "resume", 2, "no space left", free=free)
      for free in (0, 8 * _KIB, 16 * _KIB, 24 * _KIB, 32 * _KIB, 256 * _KIB)),
    *(Case(f"disk full, {free // _KIB} KiB left", "score", 2, "no space left", free=free)
      for free in (0, 12 * _KIB)),
    Case("disk full", "dump", 2, "no space left", free=0),
    Case("disk full", "export", 2, "no space left", free=256 * _KIB),
    Case("disk full", "prepare", 2, "make room", free=256 * _KIB),
    Case("read-only disk", "resume", 2, "read-only file system", is_read_only=True),
    Case("read-only disk", "evaluate", 0, "text to image", is_read_only=True),
    Case("read-only disk", "dump", 2, "read-only file system", is_read_only=True),
    Case("read-only disk", "export", 2, "read-only file system", is_read_only=True),
    Case("read-only disk", "prepare", 2, "read-only file system", is_read_only=True),
    *(Case("file size limit", command, 2, "file too large", is_limited=True)
      for command in ("resume", "export", "prepare")),
  ]  # fmt: skip
  return cases


class Storage:
  """Injects the faults of Cases into the commands of a Scenario."""

  def __init__(self, folder, run, expected):
    """Takes the folder for all files, a Scenario, and the workdir of its uninterrupted run."""
    self._folder, self._run, self._expected = folder, run, expected

  def inject(self, case, name):
    """Returns the Outcome of a Case; its folder `name` is removed if there are no faults."""
    folder, start = self._folder / name, time.monotonic()
    folder.mkdir(parents=True)
    mounted = small_disk.SmallDisk(folder / "disk", _DISK_MIB) if case.needs_mount else contextlib.nullcontext()
    with mounted as disk:
      outcome = self._inject(case, folder / "disk", disk)
    outcome.seconds = time.monotonic() - start
    if not outcome.faults:
      shutil.rmtree(folder)
    return outcome

  def _inject(self, case, folder, disk):
    workdir = folder / "run"
    folder.mkdir(exist_ok=True)
    self._arrange(case.command, workdir)
    if case.damage:
      case.damage(workdir / "stage1")
    intact = _intact_steps(workdir)
    arguments = self._arguments(case.command, workdir, folder)
    if case.free is not None:
      disk.fill(case.free)
    if case.is_read_only:
      disk.set_read_only(True)
    run = scenario.run if not case.is_limited else lambda *a: small_disk.run_limited(_SIZE_LIMIT_MIB, *a)
    done = run(*arguments)
    line, faults = _judge(case, done)
    if case.status and case.command in ("resume", "score"):
      remaining = _intact_steps(workdir)
      faults += [f"checkpoint {step}, which was sound, is lost" for step in intact if step not in remaining]
    if case.is_read_only:
      disk.set_read_only(False)
    (folder / "ballast").unlink(missing_ok=True)
    if not faults:
      faults += self._end(case, workdir, folder, arguments)
    return Outcome(case.name, case.command, done.returncode, line, faults, 0.0)

  def _arrange(self, command, workdir):
    """Creates the workdir of stage 1 from which a command starts."""
    stage_folder = workdir / "stage1"
    shutil.copytree(self._expected / "stage1", stage_folder)
    shutil.copyfile(self._expected / "config.json", workdir / "config.json")
    if command in ("resume", "score"):
      (stage_folder / "result.json").unlink()
      (stage_folder / "ranks_test.npz").unlink()
    if command == "resume":
      shutil.rmtree(stage_folder / f"checkpoints/{LAST}")
      (stage_folder / f"digests/{LAST}.json").unlink()

  def _arguments(self, command, workdir, folder):
    if command in ("resume", "score"):
      return self._run.main(workdir, stage=1)
    if command == "prepare":
      return self._run.prepare(f"{self._run.folder}/raw", f"{folder}/data", "(384,128)")
    module = "export" if command == "export" else "evaluate"
    more = {"export": [f"--to={folder}/exported"], "dump": [f"--dump={folder}/dump.npz"]}.get(command, [])
    return (module, f"--workdir={workdir}", "--stage=1", *more)

  def _end(self, case, workdir, folder, arguments):
    """Returns the faults that remain after the fault is repaired, or at once if the command succeeded."""
    if case.status:
      for step in {BEST, NEWEST} & set(_steps(workdir)) if case.damage else ():  # restored from a copy
        checkpoint = f"stage1/checkpoints/{step}"
        shutil.rmtree(workdir / checkpoint)
        shutil.copytree(self._expected / checkpoint, workdir / checkpoint)
      done = scenario.run(*arguments)
      if done.returncode:
        return [f"once mended it ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    if case.command in ("resume", "score"):
      return equality.differences(workdir, self._expected, (1,))
    written = {"export": "exported/README.md", "dump": "dump.npz", "prepare": "data/rstp_reid"}.get(case.command)
    return [f"{written} is not there"] if written and not (folder / written).exists() else []


def _steps(workdir):
  return sorted(int(path.name) for path in (workdir / "stage1/checkpoints").iterdir() if path.name.isdigit())


def _intact_steps(workdir):
  """Returns the steps of the checkpoints of stage 1 that agree with their digests or have none."""
  stage_folder = workdir / "stage1"
  folder = stage_folder / "checkpoints"
  return [step for step in _steps(workdir) if not digests.fault(stage_folder, step, folder / str(step))]


def _judge(case, done):
  """Returns (the line with the expected text, faults of the output and the exit status)."""
  lines = [line for line in done.stderr.splitlines() if case.says in line] or [
    line for line in done.stdout.splitlines() if case.says in line
  ]
  faults = []
  if done.returncode != case.status:
    faults.append(f"it ended with {done.returncode}, not {case.status}: {done.stderr.strip()[-300:]}")
  if not lines:
    faults.append(f"nothing says {case.says!r}: {done.stderr.strip()[-300:]}")
  if "Traceback" in done.stderr:
    faults.append(f"{len(done.stderr.splitlines())} lines with a traceback: {done.stderr.strip()[-300:]}")
  errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  if len(errors) != bool(case.status):
    faults.append(f"{len(errors)} lines begin with error:")
  return (lines[0].strip() if lines else json.dumps(done.stderr[-200:])), faults
