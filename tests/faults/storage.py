"""Storage faults, on real file systems: what a command says, that it loses nothing, and that it goes on once mended.

Each case begins with a run that was stopped after two of its three checkpoints, the first of which is the best, or with
one that has yet to be scored, or with a finished one.
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

# Of the first stage of a scenario's run.
BEST, NEWEST, LAST = 6, 8, 12
_DISK_MIB = 64
_KIB = 2**10
_SIZE_LIMIT_MIB = 0.125


@dataclasses.dataclass(frozen=True)
class Case:
  """A fault and what is expected of a command that meets it.

  Attributes:
    name: of the fault.
    command: "resume", "score" (a run whose training is done), "evaluate", "export", "dump" or "prepare".
    status: exit status.
    says: text of a line of standard error, or of standard output where there is none that has it.
    damage: function of the stage's folder, done before.
    free: bytes that are left on the disk; None for as many as are needed.
    is_read_only: whether nothing can be written.
    is_limited: whether no file may grow beyond _SIZE_LIMIT_MIB.

  Where a command fails, it must end well once the fault is mended, and a run equal to one without fault; where it does
  not, it must at once.
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
  """What a command did: its exit status, the line that it said, and what of that or of its files is wrong."""

  case: str
  command: str
  status: int
  line: str
  faults: list[str]
  seconds: float


# ---- Damage


def _files(stage_folder, steps, pattern):
  """Returns the largest file of each of some checkpoints that fits a pattern."""
  for step in steps:
    found = [path for path in (stage_folder / f"checkpoints/{step}").glob(pattern) if path.is_file()]
    yield max(found, key=lambda path: (path.stat().st_size, path))


def damage(how, *steps, pattern="variables/**/d/*"):
  """Returns a function that damages a file of each of some checkpoints: "truncated", "missing", "flipped"."""

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


# Files of a checkpoint by what they are for.
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
  """Brings Cases upon the commands of a Scenario."""

  def __init__(self, folder, run, expected):
    """Takes a folder for all files, a Scenario, and the workdir of its uninterrupted run."""
    self._folder, self._run, self._expected = folder, run, expected

  def meet(self, case, name):
    """Returns the Outcome of a Case; `name` is a folder's, which is removed where all went well."""
    folder, began = self._folder / name, time.monotonic()
    folder.mkdir(parents=True)
    mounted = small_disk.SmallDisk(folder / "disk", _DISK_MIB) if case.needs_mount else contextlib.nullcontext()
    with mounted as disk:
      outcome = self._meet(case, folder / "disk", disk)
    outcome.seconds = time.monotonic() - began
    if not outcome.faults:
      shutil.rmtree(folder)
    return outcome

  def _meet(self, case, place, disk):
    workdir = place / "run"
    place.mkdir(exist_ok=True)
    self._arrange(case.command, workdir)
    if case.damage:
      case.damage(workdir / "stage1")
    intact = _sound_steps(workdir)
    arguments = self._arguments(case.command, workdir, place)
    if case.free is not None:
      disk.fill(case.free)
    if case.is_read_only:
      disk.set_read_only(True)
    run = scenario.run if not case.is_limited else lambda *a: small_disk.run_limited(_SIZE_LIMIT_MIB, *a)
    done = run(*arguments)
    line, faults = _judge(case, done)
    if case.status and case.command in ("resume", "score"):
      sound = _sound_steps(workdir)
      faults += [f"checkpoint {step}, which was sound, is lost" for step in intact if step not in sound]
    if case.is_read_only:
      disk.set_read_only(False)
    (place / "ballast").unlink(missing_ok=True)
    if not faults:
      faults += self._end(case, workdir, place, arguments)
    return Outcome(case.name, case.command, done.returncode, line, faults, 0.0)

  def _arrange(self, command, workdir):
    """Makes a workdir of stage 1 as a command finds it."""
    stage_folder = workdir / "stage1"
    shutil.copytree(self._expected / "stage1", stage_folder)
    shutil.copyfile(self._expected / "config.json", workdir / "config.json")
    if command in ("resume", "score"):
      (stage_folder / "result.json").unlink()
      (stage_folder / "ranks_test.npz").unlink()
    if command == "resume":
      shutil.rmtree(stage_folder / f"checkpoints/{LAST}")
      (stage_folder / f"digests/{LAST}.json").unlink()

  def _arguments(self, command, workdir, place):
    if command in ("resume", "score"):
      return self._run.main(workdir, stage=1)
    if command == "prepare":
      return self._run.prepare(f"{self._run.folder}/raw", f"{place}/data", "(384,128)")
    module = "export" if command == "export" else "evaluate"
    more = {"export": [f"--to={place}/exported"], "dump": [f"--dump={place}/dump.npz"]}.get(command, [])
    return (module, f"--workdir={workdir}", "--stage=1", *more)

  def _end(self, case, workdir, place, arguments):
    """Returns what is wrong at the end, once the fault is mended, or at once where the command has ended well."""
    if case.status:
      for step in {BEST, NEWEST} & set(_steps(workdir)) if case.damage else ():  # a copy is put back
        folder = f"stage1/checkpoints/{step}"
        shutil.rmtree(workdir / folder)
        shutil.copytree(self._expected / folder, workdir / folder)
      done = scenario.run(*arguments)
      if done.returncode:
        return [f"once mended it ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    if case.command in ("resume", "score"):
      return equality.differences(workdir, self._expected, (1,))
    written = {"export": "exported/README.md", "dump": "dump.npz", "prepare": "data/rstp_reid"}.get(case.command)
    return [f"{written} is not there"] if written and not (place / written).exists() else []


def _steps(workdir):
  return sorted(int(path.name) for path in (workdir / "stage1/checkpoints").iterdir() if path.name.isdigit())


def _sound_steps(workdir):
  """Returns the steps of the checkpoints of stage 1 that agree with their digests, or have none."""
  stage_folder = workdir / "stage1"
  folder = stage_folder / "checkpoints"
  return [step for step in _steps(workdir) if not digests.fault(stage_folder, step, folder / str(step))]


def _judge(case, done):
  """Returns (the line that says what is expected, what is wrong with what a command said and returned)."""
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
