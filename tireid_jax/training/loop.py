"""A run: each stage of a config is built, fitted from wherever it was left, and reported."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import paths
from tireid_jax.config import values as config_lib
from tireid_jax.parallel import distributed
from tireid_jax.profiling.capture import Window
from tireid_jax.storage.lock import Lock
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import preflight, protocol_report
from tireid_jax.training.experiment import build
from tireid_jax.training.fit import fit
from tireid_jax.training.preflight import CheckedStage
from tireid_jax.training.report import report
from tireid_jax.training.stage_data import PREPARED, StageData
from tireid_jax.training.start import first_start, resume
from tireid_jax.training.stopping import StopRequest
from tireid_jax.workdir import checkpoint, layout


def run(
  config: ConfigDict,
  numbers: Sequence[int],
  run_folder: str | os.PathLike,
  profile: Window | None = None,
  data: StageData = PREPARED,
  *,
  reports_protocol: bool = False,
) -> dict[int, dict[str, Any]]:
  """Runs stages one after the other and returns {number: result}. Every process of a run calls it alike.

  Args:
    config: of the run, checked here.
    numbers: stages, ascending.
    run_folder: workdir, created if need be.
    profile: which steps of each stage are traced, None for none.
    data: of all stages.
    reports_protocol: score the test split at each validation, and add the `protocol_report` to each result.

  Raises:
    ValueError, FileNotFoundError: anything that a user can correct; checked before anything is written.
  """
  requested = [config_lib.to_json(config), list(numbers), str(run_folder), profile, reports_protocol]
  distributed.check_same(requested, "the processes were started with different flags or config files")
  config = distributed.run_on_all(lambda: paths.with_absolute_paths(config))
  with layout.locked(run_folder) as lock:
    checked = distributed.run_on_all(lambda: preflight.check(config, numbers, run_folder, profile, data))
    return {
      each.stage.number: run_stage(config, each, run_folder, lock, profile, data, reports_protocol=reports_protocol)
      for each in checked
    }


def run_stage(
  config: ConfigDict,
  checked: CheckedStage,
  run_folder: str | os.PathLike,
  lock: Lock,
  profile: Window | None = None,
  data: StageData = PREPARED,
  *,
  reports_protocol: bool = False,
) -> dict[str, Any]:
  """Runs one stage and returns its result, as in WORKDIR/stageN/result.json; a finished stage is not run again.

  Args:
    config, run_folder, profile, data, reports_protocol: as in `run`.
    checked: the stage, from `preflight.check`.
    lock: on the workdir.
  """
  number = checked.stage.number
  result = _finished_result(number, run_folder)
  if result is not None:
    if reports_protocol:
      protocol_report.check_result(result, run_folder)
    return result
  experiment = build(config, checked, run_folder, data)
  # Whatever can fail does so before the workdir is touched.
  first = None if experiment.resumes else first_start(experiment)
  distributed.run_on_first(lambda: layout.write_config(run_folder, experiment.recorded_config, number))
  with checkpoint.Checkpoints(experiment.folder) as checkpoints, StopRequest() as stop:
    start = first or resume(experiment, checkpoints)
    if reports_protocol:
      protocol_report.check(experiment, start.first_step)
    began = f"from {experiment.stage.init_from}" if first else f"resumed at step {start.first_step}"
    log_line(f"stage {number}: {experiment.summary()}, {began}")
    seconds = fit(
      experiment, start, checkpoints, stop=stop, lock=lock, profile=profile, reports_protocol=reports_protocol
    )
  if stop.by_now():
    log_line(f"stopped after the last step of stage {number}; run the same command to go on")
    raise SystemExit(stop.status())
  # If no step was left, no step was given the state, which would stay on the devices during the evaluation.
  first, start = None, dataclasses.replace(start, state=None)
  return report(experiment, start, seconds=seconds, lock=lock, reports_protocol=reports_protocol)


def _finished_result(number: int, run_folder: str | os.PathLike) -> dict[str, Any] | None:
  """Returns the result of a stage that is finished, else None; raises ValueError if the processes disagree on it."""
  result = layout.read_result(run_folder, number)
  found = [result, checkpoint.best_step(layout.stage_folder(run_folder, number))]
  distributed.check_same(found, f"the processes see different files in {run_folder}; it must be on a disk they share")
  if result is not None:
    log_line(f"stage {number} is finished in {run_folder}: test R@1 {result['t2i']['R@1']:.2f}")
  return result
