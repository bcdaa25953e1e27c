"""Says whether two results differ by more than chance: a paired bootstrap over the queries of one test split.

python -m tireid_jax.compare W1 W2                        the highest stage that both workdirs finished
python -m tireid_jax.compare W1 W2 --stage=2 --by_identity
python -m tireid_jax.compare W/stage1/ranks_test.npz W/stage2/ranks_test.npz     any two files, also of evaluate --dump
"""

import dataclasses
import errno
import os

import numpy as np
from absl import flags

from tireid_jax import cli, metrics
from tireid_jax.config import values as config_lib
from tireid_jax.errors import MissingFileError, UserError, naming
from tireid_jax.evaluation import embedding
from tireid_jax.storage import locations
from tireid_jax.terminal.table import format_table
from tireid_jax.workdir import layout

INTERVAL_PERCENT = 95
# Bytes of one array of a chunk of resamples; a few such are held at a time.
CHUNK_BYTES = 2**25


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """Scores of every query, and whose they are.

  Attributes:
    path: file they were read from.
    dataset, split, fingerprint: what was scored.
    scores: {"t2i": QueryScores, "i2t": QueryScores}.
  """

  path: os.PathLike
  dataset: str
  split: str
  fingerprint: str
  scores: dict


def main(argv):
  options = flags.FLAGS
  if len(argv) != 3:
    raise UserError(f"give two workdirs or npz files to compare, not {len(argv) - 1}")
  first, second = (read_result(path) for path in find_results(*argv[1:], stage=options.stage))
  rows = compare(first, second, num_resamples=options.num_resamples, seed=options.seed, by_identity=options.by_identity)
  resampled = "identities" if options.by_identity else "queries"
  print(f"W1: {first.path}\nW2: {second.path}")
  print(f"{first.dataset} {first.split}, {options.num_resamples:,} resamples of {resampled}")
  print(f"low, high: {INTERVAL_PERCENT}% interval of W2-W1; p: two-sided, of no difference\n")
  print(format_table(rows))


def find_results(first, second, *, stage=None):
  """Returns the two paths of files of ranks.

  Args:
    first, second: each a workdir or a file.
    stage: of the workdirs; None is the highest that is finished in all of them.
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
  return [layout.stage_folder(path, stage) / layout.RANKS_FILE if path.is_dir() else path for path in given]


def _finished_stages(folder):
  ranks = {number: layout.stage_folder(folder, number) / layout.RANKS_FILE for number in config_lib.STAGES}
  return [number for number, file in ranks.items() if file.is_file()]


def read_result(path):
  """Returns the Result in a file that holds `embedding.score_arrays`."""
  try:
    with naming(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return Result(
        path=path,
        dataset=str(arrays["dataset"]),
        split=str(arrays["split"]),
        fingerprint=str(arrays["fingerprint"]),
        scores={way: metrics.QueryScores.from_arrays(arrays, way) for way in embedding.WAYS},
      )
  # What zipfile, zlib and NumPy make of a damaged file is their own affair; a size that it claims may be any.
  except Exception as error:
    if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is to seek before its beginning
      raise
    raise UserError(
      f"{path} holds no ranks of a split ({' '.join(str(error).split())[:200]}); give a file {layout.RANKS_FILE} of "
      f"a workdir, or one of evaluate --dump"
    ) from None


def compare(first, second, *, num_resamples=10_000, seed=0, by_identity=False):
  """Returns a table's rows, one a direction and metric: both results, their difference, its interval and p.

  Args:
    first, second: Results of the same split.
    num_resamples: how often the queries are drawn anew, with replacement; the same draw for both results.
    seed: of the draws.
    by_identity: draws identities with all of their queries instead: queries of one person are not independent.
  """
  if num_resamples < 1:
    raise UserError(f"--num_resamples={num_resamples} must be at least 1")
  check_same_queries(first, second)
  rows = []
  for number, way in enumerate(embedding.WAYS):
    before, after = (result.scores[way].by_query() for result in (first, second))
    query_ids = first.scores[way].query_ids
    groups = np.unique(query_ids, return_inverse=True)[1] if by_identity else np.arange(len(query_ids))
    differences = np.stack([after[name] - before[name] for name in before], axis=1)  # [N, metrics]
    resampled = bootstrap_means(differences, groups, num_resamples, np.random.default_rng([seed, number]))
    tail = (100 - INTERVAL_PERCENT) / 2
    low, high = np.percentile(resampled, (tail, 100 - tail), axis=0)
    for i, name in enumerate(before):
      rows.append(
        {
          "direction": embedding.WAYS[way],
          "metric": name,
          "W1": float(before[name].mean()),
          "W2": float(after[name].mean()),
          "W2-W1": float(differences[:, i].mean()),
          "low": float(low[i]),
          "high": float(high[i]),
          "p": f"{_p_value(resampled[:, i]):.4f}",
        }
      )
  return rows


def check_same_queries(first, second):
  """Raises ValueError unless both Results are of the same queries."""
  for name in ("dataset", "split", "fingerprint"):
    ours, theirs = getattr(first, name), getattr(second, name)
    if ours != theirs:
      raise UserError(
        f"{first.path} and {second.path} are results of different data: {name} {ours} and {theirs}; compare results "
        f"of the same split of the same prepared data set"
      )
  for way, words in embedding.WAYS.items():
    ours, theirs = first.scores[way].query_ids, second.scores[way].query_ids
    if not np.array_equal(ours, theirs):
      raise UserError(
        f"{first.path} and {second.path} have different queries, {words}: {len(ours)} and {len(theirs)}, or others of "
        f"the same number; compare results with the same val_identities and seed"
      )


def bootstrap_means(values, groups, num_resamples, rng):
  """Returns f64[num_resamples, metrics], means of `values` over groups drawn with replacement.

  Args:
    values: f64[N, metrics].
    groups: i64[N] in 0..num_groups-1; queries of one group are drawn together.
    num_resamples: rows to return.
    rng: numpy Generator.
  """
  sizes = np.bincount(groups).astype(np.float64)
  sums = np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)  # [groups, metrics]
  num_groups = len(sizes)
  means = np.empty((num_resamples, values.shape[1]))
  rows_at_a_time = max(1, CHUNK_BYTES // (8 * num_groups))
  for start in range(0, num_resamples, rows_at_a_time):
    num_rows = min(rows_at_a_time, num_resamples - start)
    drawn = rng.integers(num_groups, size=(num_rows, num_groups)) + num_groups * np.arange(num_rows)[:, None]
    # How often each group was drawn, so that the sum over the draw is a product of matrices.
    times = np.bincount(drawn.ravel(), minlength=num_rows * num_groups).reshape(num_rows, num_groups)
    times = times.astype(np.float64)
    means[start : start + num_rows] = (times @ sums) / (times @ sizes)[:, None]
  return means


def _p_value(resampled):
  """Returns twice the smaller share of resampled differences on one side of 0, counting the data as one resample."""
  beyond = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
  return min(1.0, 2 * (beyond + 1) / (len(resampled) + 1))


if __name__ == "__main__":
  flags.DEFINE_integer("stage", None, "stage of the workdirs; by default the highest that both have finished")
  flags.DEFINE_integer("num_resamples", 10_000, "how often the queries are drawn anew")
  flags.DEFINE_integer("seed", 0, "of the draws")
  flags.DEFINE_bool("by_identity", False, "draw identities with all of their queries, not single queries")
  cli.run(main, num_arguments=2)
