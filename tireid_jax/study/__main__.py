"""Runs the missing experiments of a table with several seeds and writes the table, with tests of the differences.

python -m tireid_jax.study --config=configs/toy.py --table=main --seeds=0,1,2 --workdir=W
python -m tireid_jax.study --config=configs/cuhk.py --table=length --seeds=0,1,2 --workdir=W --config.pretrained=CLIP
python -m tireid_jax.study ... --dry_run     prints the command of each missing run, for a cluster, and what it costs
python -m tireid_jax.study ... --norun       writes the table from what is finished
"""

import pathlib
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from tireid_jax import cli
from tireid_jax.config import config_file, paths
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.parallel import distributed
from tireid_jax.storage import compilation_cache, locations, lock
from tireid_jax.study import budget, results, running, tables, toy_data, writing
from tireid_jax.study import groups as groups_lib
from tireid_jax.study import plan as plan_lib


def main(_: list[str]) -> int:
  options = flags.FLAGS
  if options.config is None or not options.workdir:
    raise UserError("give --config=FILE (as configs/toy.py) and --workdir=DIR")
  seeds = config_lib.seeds(options.seeds)
  workdir = locations.absolute(locations.local_path(options.workdir, "--workdir"))
  folder = locations.local_path(options.results, "--results") if options.results else workdir / "results"
  config = paths.with_absolute_paths(options.config)
  config_lib.check(config)
  config_file.print_sources()
  table, groups = groups_lib.of_table(options.table, config)

  def make_plan(assumes=False):
    return plan_lib.make(groups, seeds, workdir, folder, assumes=assumes)

  if options.dry_run:
    plan, file = make_plan(), config_flags.get_config_filename(options["config"])
    grid = [cell for cells in plan.grid.values() for cell in cells]
    print("\n".join(running.commands(plan.all_entries(), folder, file, grid)))
    if grid:
      print("run them, and then this command again: what follows depends on them", file=sys.stderr)
    whole = budget.of_plan(make_plan(assumes=True), folder)
    print(f"to the end, {whole.in_words(options.seconds_per_step)}", file=sys.stderr)
    return 0
  with lock.holding(workdir, f"--workdir={workdir}", "give another --workdir"):
    return _run(table, make_plan, folder, config)


def _run(table, make_plan, folder: pathlib.Path, config) -> int:
  """Runs what is missing, writes the table and returns the exit status: 1 if a run failed."""
  options = flags.FLAGS
  distributed.check_backend()
  compilation_cache.enable_persistent_cache()
  plan, reasons = running.run_grids(make_plan, folder) if options.run else (make_plan(), {})
  failures = running.run_missing(plan.all_entries(), folder, trains=options.run)
  reasons |= {f"{failure.entry.row.name}, seed {failure.entry.seed}": failure.reason for failure in failures}
  records = running.finished(plan.all_entries(), folder)
  share_queries = not toy_data.is_synthetic(config)
  found = {
    group: results.of_rows(group.rows, entries, records, share_queries=share_queries, compares=table.compares)
    for group, entries in plan.entries.items()
  }
  written = writing.write(
    folder, options.table, table, found, config=config, failures=reasons, choices=plan.choices,
    untuned={row: len(grid) for row, grid in plan.grid.items()},
    command=shlex.join(["python", "-m", "tireid_jax.study", *sys.argv[1:]]),
  )  # fmt: skip
  print(written[0].read_text())
  for path in written:
    print(f"wrote {path}")
  for entry, reason in reasons.items():
    print(f"failed: {entry}: {reason}", file=sys.stderr)
  return 1 if reasons else 0


if __name__ == "__main__":
  config_file.define_flag("config", None, "config file, as configs/toy.py")
  flags.DEFINE_string("table", "main", f"one of {', '.join(tables.NAMES)}")
  flags.DEFINE_list("seeds", ["0"], "seeds of each row, as 0,1,2")
  flags.DEFINE_string("workdir", "", "folder of all runs, and of synthetic data")
  flags.DEFINE_string("results", "", "folder of tables and of each finished run's result; by default WORKDIR/results")
  flags.DEFINE_bool("dry_run", False, "print the command of each missing run instead of running it")
  flags.DEFINE_float("seconds_per_step", 0.0, "seconds of one core for a training step, for the estimate of --dry_run")
  flags.DEFINE_bool("run", True, "run what is missing; --norun writes the table from what is finished")
  cli.run(main)
