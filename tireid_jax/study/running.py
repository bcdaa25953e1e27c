"""Runs the cells that are missing, and scores the entries whose cells are finished."""

import dataclasses
import gc
import pathlib
import traceback
from collections.abc import Callable, Iterable, Sequence

import jax

from tireid_jax.errors import DivergedError, UserError, first_line
from tireid_jax.study import command_line, records, scoring, toy_data, tuning
from tireid_jax.study.cells import Cell
from tireid_jax.study.entries import Entry
from tireid_jax.study.plan import Plan
from tireid_jax.study.records import Record
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import loop


@dataclasses.dataclass(frozen=True)
class Failure:
  """What went wrong with an entry."""

  entry: Entry
  reason: str


def finished(entries: Iterable[Entry], results: pathlib.Path) -> dict[Entry, Record]:
  """Returns the stored records of the entries that are finished."""
  found = {
    entry: records.read(results, entry.digest, entry.seed, scoring.settings(entry.cell.config)) for entry in entries
  }
  return {entry: record for entry, record in found.items() if record is not None}


def run_missing(entries: Sequence[Entry], results: pathlib.Path, *, trains: bool = True) -> list[Failure]:
  """Runs what is missing, entry by entry, and returns the failures, which do not stop the other entries.

  A cell that was interrupted is resumed, and one that another entry has run is not run again.

  Args:
    entries: of all rows and seeds.
    results: folder of the records.
    trains: False to score only entries whose cells are finished; the others are not failures.
  """
  failures: list[Failure] = []
  failed: dict[pathlib.Path, UserError] = {}
  done = finished(entries, results)
  missing = [entry for entry in entries if entry not in done]
  for number, entry in enumerate(missing, start=1):
    if not trains and any(cell.result() is None for cell in entry.needed()):
      continue
    log_line(f"study: {number} of {len(missing)}: {entry.row.name}, seed {entry.seed}, {entry.digest}")
    try:
      for cell in entry.needed():
        _run(cell, failed)
      if toy_data.is_synthetic(entry.cell.config):
        toy_data.make(entry.cell.config, toy_data.name_of(entry.cell.config, entry.cell.number))
      records.write(results, scoring.score(entry))
    except Exception as error:  # whatever ends one entry, the others are independent of it
      reason = _reason(error)
      log_line(f"study: {entry.row.name}, seed {entry.seed}, failed: {reason}")
      failures.append(Failure(entry, reason))
    _free_memory()
  return failures


def run_grids(make_plan: Callable[[], Plan], results: pathlib.Path) -> tuple[Plan, dict[str, str]]:
  """Runs what tuning needs until every row is tuned or has failed; returns the plan and {row: reason} of failures.

  Args:
    make_plan: returns the plan with what is finished so far.
    results: folder of the validation scores.
  """
  failures: dict[str, str] = {}
  failed: dict[pathlib.Path, UserError] = {}
  while True:
    plan = make_plan()
    waiting = {row: grid for row, grid in plan.grid.items() if row not in failures}
    if not waiting:
      return plan, failures
    for row, grid in waiting.items():
      for number, cell in enumerate(grid, start=1):
        if tuning.is_scored(cell, results):  # as a cell of another row, since the plan was made
          continue
        log_line(f"study: tuning {row}: {number} of {len(grid)}, {cell.digest}")
        try:
          for needed in cell.lineage():
            _run(needed, failed)
        except DivergedError as error:
          tuning.record_divergence(cell, results, error)
        except Exception as error:
          failures[row] = _reason(error)
          log_line(f"study: tuning {row} failed: {failures[row]}")
          break
        finally:
          _free_memory()


def _reason(error):
  """Returns what to report of an exception; prints the traceback of one that is not the user's to mend."""
  if isinstance(error, UserError):
    return str(error)
  traceback.print_exc()
  return first_line(error)


def _free_memory():
  # The next entry has other programs, and the memory of these is needed.
  jax.clear_caches()
  gc.collect()


def _run(cell: Cell, failed: dict[pathlib.Path, UserError]) -> None:
  """Trains a cell unless it is finished; raises at once for a cell that failed or diverged before in this study."""
  if cell.result() is not None:
    return
  if cell.folder in failed:
    raise failed[cell.folder]
  try:
    if toy_data.is_synthetic(cell.config):
      toy_data.make(cell.config, toy_data.name_of(cell.config, cell.number))
    loop.run(cell.config, (cell.number,), cell.folder)
  except Exception as error:
    error_type = DivergedError if isinstance(error, DivergedError) else UserError
    failed[cell.folder] = error_type(f"stage {cell.number} in {cell.folder} failed before: {first_line(error)}")
    raise


def commands(entries: Sequence[Entry], results: pathlib.Path, file: str, grid: Iterable[Cell] = ()) -> list[str]:
  """Returns the command lines of the cells that are missing, one per cell, each after those that it depends on.

  Args:
    entries: of all rows and seeds that are tuned.
    grid: cells that tuning needs.
    results: folder of the records.
    file: FILE[:ABLATION] of the study's --config.
  """
  lines: dict[str, None] = {}
  done = finished(entries, results)
  needed = [one for cell in grid for one in cell.lineage()]
  needed += [cell for entry in entries if entry not in done for cell in entry.needed()]
  seen: set[pathlib.Path] = set()
  for cell in needed:
    if cell.folder not in seen and cell.result() is None:
      seen.add(cell.folder)
      lines |= dict.fromkeys([*command_line.of_data(cell, file), command_line.of_cell(cell, file)])
  return list(lines)
