"""Equal tuning: every row gets the same grid of learning rates and lengths, from which validation selects."""

import dataclasses
import itertools
import math
import pathlib
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.config import values as config_lib
from tireid_jax.errors import DivergedError, UserError
from tireid_jax.storage import files
from tireid_jax.study import cells
from tireid_jax.study.cells import Cell

FOLDER = "tuning"
# If the longest length wins, the grid is extended by one that is this many times as long.
EXTENSION = 3
# Validations of a run of any length.
NUM_VALIDATIONS = 10
HEAD = "params/id_head"
_REMEDY = "remove it, and run the same command again"


@dataclasses.dataclass(frozen=True, eq=False)
class Tuned:
  """The state of tuning a row.

  Attributes:
    config: with what has been selected so far.
    missing: cells of the grid that have to be run; unless the rest is assumed, before tuning can go on.
    choices: {stage: {"learning_rate", "epochs", "validation", "candidates", "longest_wins"}}.
  """

  config: ConfigDict
  missing: list[Cell]
  choices: dict[str, dict[str, Any]]


def is_tuned(config: ConfigDict) -> bool:
  """Returns whether a config asks for a grid."""
  return bool(config.study.learning_rates or config.study.epochs)


def tune(
  config: ConfigDict, seed: int, workdir: pathlib.Path, results: pathlib.Path, *, assumes: bool = False
) -> Tuned:
  """Selects the learning rate and the length of each stage of a row, in order: stage 1 first, by its own validation.

  Every length has its full schedule. Of equal validation metrics the shorter run wins, then the lower rate. A stage
  that trains the identity head alone, which validation does not see, stays as configured.

  Args:
    config: of the row.
    seed: of all runs of the grid.
    workdir: of the study.
    results: folder of the validation scores.
    assumes: where runs are missing, goes on as if one of the longest in the grid had won, to see what would follow.

  Raises:
    UserError: the config has no validation split.
  """
  if is_tuned(config) and config.select_on != "val":
    raise UserError(
      f"study.learning_rates and study.epochs need a validation split, but select_on is {config.select_on!r}; set "
      "--config.select_on=val, and --config.data.val_identities for a data set without that split, or "
      "--config.study.learning_rates='()' --config.study.epochs='()'"
    )
  config = config.copy_and_resolve_references()
  choices: dict[str, dict[str, Any]] = {}
  missing: list[Cell] = []
  for number in config.stages if is_tuned(config) else ():
    if all(entry.startswith(HEAD) for entry in config[f"stage{number}"].trains):
      continue
    stage, choice, waiting = _select(config, number, seed, workdir, results, assumes)
    missing += waiting
    if waiting and not assumes:
      break
    config[f"stage{number}"] = stage
    if choice:
      choices[f"stage{number}"] = choice
  return Tuned(config, missing, choices)


def _select(config, number, seed, workdir, results, assumes):
  """Returns (stage, choice, []) of a finished grid, or (one of the longest runs' stage, {}, cells that are missing)."""
  study = config.study
  lengths = sorted({*study.epochs} or {config[f"stage{number}"].epochs})
  rates = sorted(study.learning_rates or (1.0,))
  tried = 0
  if study.rates_first and len(rates) > 1:
    candidates = _grid(config, number, lengths[:1], rates, seed, workdir)
    best, _, missing = _best(candidates, results)
    if missing:
      longer = _grid(config, number, lengths[1:], rates[-1:], seed, workdir) if assumes else []
      return [*candidates, *longer][-1][0][f"stage{number}"], {}, [*missing, *(cell for _, cell in longer)]
    rates, tried = [rates[best]], len(rates) - 1
  for extension in range(study.max_extensions + 1):
    candidates = _grid(config, number, lengths, rates, seed, workdir)
    best, score, missing = _best(candidates, results)
    if missing:
      return candidates[-1][0][f"stage{number}"], {}, missing
    stage = candidates[best][0][f"stage{number}"]
    longest_wins = len({*study.epochs}) > 1 and stage.epochs == lengths[-1]
    if not longest_wins or extension == study.max_extensions:
      break
    lengths.append(EXTENSION * lengths[-1])
  choice = {
    "learning_rate": stage.learning_rate, "epochs": stage.epochs, "validation": score,
    "candidates": tried + len(candidates), "longest_wins": longest_wins,
  }  # fmt: skip
  return stage, choice, []


def _best(candidates, results):
  """Returns (index of the best candidate, its score, cells without a score); the index is None if there are any."""
  scores = [_score(cell, results) for _, cell in candidates]
  missing = [cell for (_, cell), score in zip(candidates, scores, strict=True) if score is None]
  if missing:
    return None, None, missing
  best = max(range(len(scores)), key=lambda i: (scores[i], -i))
  return best, scores[best], []


def _grid(config, number, lengths, rates, seed, workdir):
  """Returns [(config, cell of the stage)] of the grid, shorter runs and then lower rates first."""
  found = []
  for epochs, factor in itertools.product(lengths, rates):
    candidate = config.copy_and_resolve_references()
    candidate.stages = tuple(other for other in config.stages if other <= number)
    stage = candidate[f"stage{number}"]
    stage.learning_rate *= factor
    if config.study.epochs:
      # Warm-up is never longer than configured, and never a larger part of the run.
      fraction = epochs / stage.epochs
      stage.warmup_epochs *= min(1.0, fraction)
      stage.stable_epochs *= fraction
      stage.epochs = epochs
      stage.evaluate_every_epochs = max(1, epochs // NUM_VALIDATIONS)
    found.append((candidate, cells.chain(candidate, seed, workdir)[-1]))
  return found


def _path(cell, results):
  return results / FOLDER / f"{cell.digest}-seed{cell.seed}.json"


def _score(cell: Cell, results: pathlib.Path) -> float | None:
  """Returns the validation metric of a cell, None if it has not run. It is stored, since the workdir may be deleted."""
  path = _path(cell, results)
  if path.is_file():
    score = files.read_json(path, _REMEDY)["score"]
    return -math.inf if score is None else float(score)
  result = cell.result()
  if result is None:
    return None
  direction, _, metric = cell.config.select_by.partition("/")
  score = result["selection"][direction][metric]
  _store(cell, results, score)
  return score


def is_scored(cell: Cell, results: pathlib.Path) -> bool:
  """Returns whether the validation metric of a cell, or that it diverged, is stored."""
  return _path(cell, results).is_file()


def record_divergence(cell: Cell, results: pathlib.Path, error: DivergedError) -> None:
  """Stores that a run of the grid diverged, which ranks it last."""
  _store(cell, results, None, str(error))


def _store(cell, results, score, reason=""):
  stage = config_lib.to_json(cell.config)[f"stage{cell.number}"]
  kept = {name: stage[name] for name in ("learning_rate", "epochs")}
  facts = {"digest": cell.digest, "seed": cell.seed, "stage": cell.number, "by": cell.config.select_by}
  files.write_json(_path(cell, results), {**facts, **kept, "score": score, **({"reason": reason} if reason else {})})
