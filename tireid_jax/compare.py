"""Tests whether two results differ by more than chance: a paired bootstrap over the identities of one test split.

python -m tireid_jax.compare W1 W2                        the highest stage that both workdirs finished
python -m tireid_jax.compare W1 W2 --stage=2
python -m tireid_jax.compare W1 W2 --noby_identity        resample single queries, not all of a person together
python -m tireid_jax.compare W/stage1/ranks_test.npz W/stage2/ranks_test.npz     any two files, also of evaluate --dump
"""

import os
import pathlib

from absl import flags

from tireid_jax import cli
from tireid_jax.config import values as config_lib
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.evaluation import score_file, significance
from tireid_jax.storage import locations
from tireid_jax.terminal.table import format_table
from tireid_jax.workdir import layout


def main(argv: list[str]) -> None:
  options = flags.FLAGS
  if len(argv) != 3:
    raise UserError(f"give two workdirs or npz files to compare, not {len(argv) - 1}")
  first, second = (score_file.read(path) for path in find_results(argv[1], argv[2], stage=options.stage))
  rows = significance.compare(
    first, second, num_resamples=options.num_resamples, seed=options.seed, by_identity=options.by_identity
  )
  resampled = "identities" if options.by_identity else "queries"
  print(f"W1: {first.path}\nW2: {second.path}")
  print(f"{first.dataset} {first.split}, {options.num_resamples:,} resamples of {resampled}")
  print(f"low, high: {significance.INTERVAL_PERCENT}% interval of W2-W1; p: two-sided, of no difference\n")
  print(format_table(rows))


def find_results(
  first: str | os.PathLike, second: str | os.PathLike, *, stage: int | None = None
) -> list[pathlib.Path]:
  """Returns the paths of two files of ranks.

  Args:
    first, second: each a workdir or a file.
    stage: of the workdirs; None for the highest one that is finished in all of them.

  Raises:
    MissingFileError: one of them does not exist, or has not finished the stage.
  """
  given = [locations.check(locations.to_path(path)) for path in (first, second)]
  for path in given:
    if not path.exists():
      raise MissingFileError(f"there is no {path}; give the workdir of a run, or a file of evaluate --dump=FILE")
  folders = [path for path in given if path.is_dir()]
  finished = {folder: _finished_stages(folder) for folder in folders}
  for folder in folders:
    if not finished[folder] or (stage is not None and stage not in finished[folder]):
      wanted = "no stage" if stage is None else f"stage {stage} not"
      raise MissingFileError(
        f"{folder} has {wanted} finished; run python -m tireid_jax.main --config=... --workdir={folder} "
        f"--stage={'all' if stage is None else stage}"
      )
  if stage is None and folders:
    common = set.intersection(*map(set, finished.values()))
    if not common:
      stages = "; ".join(f"{folder} has {', '.join(map(str, numbers))}" for folder, numbers in finished.items())
      raise MissingFileError(
        f"no stage is finished in both: {stages}; run python -m tireid_jax.main for the other, or compare two files "
        f"WORKDIR/stageN/{layout.RANKS_FILE}"
      )
    stage = max(common)
  return [
    layout.stage_folder(path, stage) / layout.RANKS_FILE if stage is not None and path.is_dir() else path
    for path in given
  ]


def _finished_stages(folder):
  ranks = {number: layout.stage_folder(folder, number) / layout.RANKS_FILE for number in config_lib.STAGES}
  return [number for number, file in ranks.items() if file.is_file()]


if __name__ == "__main__":
  flags.DEFINE_integer("stage", None, "stage of the workdirs; by default the highest that both have finished")
  flags.DEFINE_integer("num_resamples", 10_000, "number of bootstrap resamples")
  flags.DEFINE_integer("seed", 0, "of the resampling")
  flags.DEFINE_bool("by_identity", True, "resample identities with all of their queries; False: single queries")
  cli.run(main, num_arguments=2)
