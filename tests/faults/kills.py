"""Kills commands at random moments. Each is restarted with the same arguments and must end with equal results.

A moment consists of a phase, a step to wait for, and a delay after that step, all determined by a seed. What a kill
interrupts depends on the machine; it is found from the files and reported.
"""

import dataclasses
import pathlib
import shutil
import time

import numpy as np

from tests.data.trees import make_tree
from tests.faults import equality, scenario
from tireid_jax.workdir.metric_log import read_metrics

# Number of kills in each phase, of 20 kills: of runs, and of other commands.
_OF_RUNS = {
  "starting": 2, "resuming": 2, "stepping": 4, "saving": 4, "validating": 2, "scoring": 2, "between stages": 2,
}  # fmt: skip
_OF_OTHERS = {"preparing": 1, "evaluate": 1}
# Maximum delay, in seconds of CPU time, after the step that a kill waits for: long enough that some kills come after
# the phase. A command takes about 8 s until its first step.
_DELAYS_S = {
  "starting": 8.0, "resuming": 8.0, "stepping": 0.5, "saving": 0.5, "validating": 1.0, "scoring": 1.0,
  "between stages": 5.0, "preparing": 1.0, "evaluate": 3.0,
}  # fmt: skip
_KILLS_PER_RUN = 5


@dataclasses.dataclass(frozen=True)
class Moment:
  """When a command is killed: in a phase of a stage, some time after a step has been reached."""

  phase: str
  stage: int
  step: int
  delay_s: float


@dataclasses.dataclass
class Outcome:
  """The result of the kills of a command.

  Attributes:
    moments: Moments.
    landed: what the process was doing at each, by its files.
    faults: one line each; empty if the results equal those of an uninterrupted command.
    seconds: total duration.
  """

  moments: list[Moment]
  landed: list[str]
  faults: list[str]
  seconds: float = 0.0


def sample_commands(number, seed):
  """Returns a list of Moments for each command; phases occur in proportion, and the seed determines everything.

  A run of both stages is killed and restarted about _KILLS_PER_RUN times. `number` is the total number of kills.
  """
  rng = np.random.default_rng(seed)
  phases = [phase for phase, count in (_OF_RUNS | _OF_OTHERS).items() for _ in range(count)]
  sampled = [phases[i] for _ in range(-(-number // len(phases))) for i in rng.permutation(len(phases))][:number]
  moments = [sample_moment(phase, rng) for phase in sampled]
  of_runs = [moment for moment in moments if moment.phase in _OF_RUNS]
  num_runs = -(-len(of_runs) // _KILLS_PER_RUN)
  runs = [sorted(of_runs[i::num_runs], key=_order) for i in range(num_runs)]
  return runs + [[moment] for moment in moments if moment.phase in _OF_OTHERS]


def _order(moment):
  """Returns a key that sorts Moments of a run in the order in which they are reached."""
  return moment.phase != "starting", moment.stage, moment.phase == "between stages", moment.step


def sample_moment(phase, rng):
  """Returns a random Moment of a phase."""
  epoch, last = scenario.EPOCH_STEPS, scenario.STAGE_STEPS
  step = {"validating": rng.choice([epoch, last]), "scoring": last}.get(phase, rng.integers(1, last))
  stage = 1 if phase in ("starting", "between stages") else rng.integers(1, 3)
  return Moment(phase, int(stage), int(step), float(rng.uniform(0, _DELAYS_S[phase])))


class Killer:
  """Kills the commands of a Scenario at given Moments."""

  def __init__(self, folder, run, expected):
    """Takes the folder for all files, a Scenario, and the workdir of its uninterrupted run."""
    self._folder, self._run, self._expected = folder, run, expected

  def kill(self, moments, name):
    """Returns the Outcome of the Moments of a command; its folder `name` is removed if there are no faults."""
    folder = self._folder / name
    folder.mkdir()
    start = time.monotonic()
    kill = {"preparing": self._kill_prepare, "evaluate": self._kill_evaluate}.get(moments[0].phase, self.kill_run)
    outcome = kill(moments, folder)
    outcome.seconds = time.monotonic() - start
    if not outcome.faults:
      shutil.rmtree(folder)
    return outcome

  def kill_run(self, moments, folder):
    """Kills a run of both stages at each of the Moments, in ascending order, and restarts it each time."""
    workdir = folder / "run"
    arguments = self._run.main(workdir)
    landed = [_kill_at(moment, workdir, folder / "log", arguments) for moment in moments]
    faults = _restart(folder, arguments)
    return Outcome(moments, landed, faults or equality.differences(workdir, self._expected))

  def _kill_prepare(self, moments, folder):
    (moment,) = moments
    make_tree(folder / "raw", "rstp_reid", num_ids={"train": 480, "val": 5, "test": 5}, images_per_id=1)
    arguments = self._run.prepare(folder / "raw", folder / "data", "(384,128)")
    home, landed = folder / "data/rstp_reid", []
    with scenario.Command(folder / "log", *arguments) as command:
      command.wait_until(lambda: home.exists())
      command.wait_cpu(moment.delay_s)
      is_killed = command.kill()
    shards = len([*home.glob(".preparing*/shards/*.json")])
    packed = home.glob("*/*/dataset.json")
    landed.append(f"{shards} shards written" + ", data set complete" * any(packed) if is_killed else "ended before")
    faults = _restart(folder, arguments)
    faults = faults or _restart(folder, self._run.prepare(folder / "raw", folder / "again", "(384,128)"))
    if not faults and _contents(folder / "data") != _contents(folder / "again"):
      faults = ["the prepared files differ"]
    return Outcome(moments, landed, faults)

  def _kill_evaluate(self, moments, folder):
    (moment,) = moments
    arguments = ("evaluate", f"--workdir={self._expected}", f"--stage={moment.stage}", "--split=test")
    dump = folder / "dump.npz"
    with scenario.Command(folder / "log", *arguments, f"--dump={dump}") as command:
      command.wait_cpu(moment.delay_s)
      is_killed = command.kill()
    landed = ["dump written" if dump.exists() else "no dump yet"] if is_killed else ["ended before"]
    faults = _restart(folder, (*arguments, f"--dump={dump}"))
    faults = faults or _restart(folder, (*arguments, f"--dump={folder}/again.npz"))
    if not faults:
      faults = equality.array_differences(
        "dump", *(dict(np.load(folder / f"{name}.npz")) for name in ("dump", "again"))
      )
    return Outcome(moments, landed, faults)


def where(workdir):
  """Describes the progress of a run, by its files."""
  folders = [folder for folder in (workdir / "stage1", workdir / "stage2") if (folder / "config.json").exists()]
  if not folders:
    return "before its first write"
  stage_folder, name = folders[-1], f"stage {len(folders)}"
  if (stage_folder / "result.json").exists():
    return f"{name} finished"
  logged, validated = _logged_step(stage_folder), _validated_step(stage_folder)
  saved, being_saved = _saved_steps(stage_folder)
  if being_saved:
    return f"{name}, step {logged}, writing checkpoint {max(being_saved)}"
  if saved and not (stage_folder / f"digests/{max(saved)}.json").exists():
    return f"{name}, step {logged}, checkpoint {max(saved)} without digests"
  if saved and max(saved) == scenario.STAGE_STEPS:
    return f"{name}, scoring the test split"
  if logged and logged % scenario.EPOCH_STEPS == 0 and validated != logged:
    return f"{name}, step {logged}, validating"
  return f"{name}, step {logged}" if logged else f"{name}, before its first line of the log"


def _kill_at(moment, workdir, log, arguments):
  """Starts a run, kills it at a Moment, and describes its progress."""
  with scenario.Command(log, *arguments) as command:
    command.wait_until(lambda: _is_reached(moment, workdir / f"stage{moment.stage}"))
    command.wait_cpu(moment.delay_s)
    return where(workdir) if command.kill() else "ended before"


def _is_reached(moment, stage_folder):
  if moment.phase in ("starting", "resuming"):
    return True
  if moment.phase == "between stages":
    return (stage_folder / "result.json").exists()
  if moment.phase == "scoring":
    return max(_saved_steps(stage_folder)[0], default=0) == moment.step
  if moment.phase == "saving":
    return max(_saved_steps(stage_folder)[1], default=0) >= moment.step
  return _logged_step(stage_folder) >= moment.step


def _logged_step(stage_folder):
  return max((record["step"] for record in read_metrics(stage_folder)), default=0)


def _validated_step(stage_folder):
  return max((record["step"] for record in read_metrics(stage_folder) if "loss/total" not in record), default=0)


def _saved_steps(stage_folder):
  """Returns (steps of finished checkpoints, steps of checkpoints that are being written)."""
  names = [path.name for path in stage_folder.glob("checkpoints/*")]
  return [int(n) for n in names if n.isdigit()], [int(n.partition(".")[0]) for n in names if "tmp" in n]


def _restart(folder, arguments):
  """Runs a command, which must succeed; returns its faults."""
  done = scenario.run(*arguments)
  (folder / "restarted.log").write_text(done.stderr)
  if done.returncode:
    return [f"the restarted command ended with {done.returncode}: {done.stderr.strip()[-500:]}"]
  return ["the restarted command wrote a traceback"] if "Traceback" in done.stderr else []


def _contents(folder: pathlib.Path):
  return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
