"""Trains the stages of a config.

python -m tireid_jax.main --config=configs/cuhk.py --stage=1 --workdir=W --config.pretrained=CLIP
python -m tireid_jax.main --config=configs/cuhk.py --stage=2 --workdir=W --config.pretrained=CLIP

:no_stage1 after the config selects that ablation, --stage=all runs both stages, --seeds=0,1,2 repeats them, and
--multihost, on each host of a TPU pod, joins the hosts.
"""

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.parallel import distributed
from tireid_jax.profiling import capture
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.terminal.table import format_table, mean_and_std
from tireid_jax.terminal.version import format_version
from tireid_jax.training import loop


def main(_: list[str]) -> None:
  options = flags.FLAGS
  if options.version:
    print(format_version(config_lib.to_json(options.config) if options.config is not None else None))
    return
  distributed.initialize(options)
  compilation_cache.enable_persistent_cache()
  if options.config is None or not options.workdir:
    raise UserError("give --config=FILE (as configs/cuhk.py) and --workdir=DIR")
  if distributed.is_first():
    config_file.print_sources()
  config = options.config
  run_folder = distributed.run_on_all(lambda: locations.check(locations.to_path(options.workdir, "--workdir")))
  numbers = config_lib.stage_numbers(config, options.stage)
  profile = capture.parse(options.profile)
  if not options.seeds:
    loop.run(config, numbers, run_folder, profile, reports_protocol=options.protocol_report)
    return
  results = []
  for seed in config_lib.seeds(options.seeds):
    config.seed = seed
    folder = run_folder / f"seed{seed}"
    results.append(loop.run(config, numbers, folder, profile, reports_protocol=options.protocol_report))
  if distributed.is_first():
    print(format_table(_mean_rows(results, numbers)))


def _mean_rows(results, numbers):
  """Returns a table row for each stage: mean ± standard deviation of the text-to-image metrics over the seeds."""
  rows = []
  for number in numbers:
    metrics = [result[number]["t2i"] for result in results]
    spread = {name: mean_and_std([values[name] for values in metrics]) for name in metrics[0]}
    rows.append({"stage": str(number), "seeds": len(results), **spread})
  return rows


if __name__ == "__main__":
  config_file.define_flag("config", None, "config file, as configs/cuhk.py[:ABLATION]")
  flags.DEFINE_string("stage", "all", "0, 1, 2 or all")
  flags.DEFINE_string("workdir", "", "folder of checkpoints, logs and results, or gs://BUCKET/FOLDER")
  flags.DEFINE_list("seeds", [], "repeat the run with each seed, in WORKDIR/seedN, as --seeds=0,1,2")
  flags.DEFINE_string("profile", "", "START:STEPS, steps of each stage that are traced for TensorBoard's profiler")
  flags.DEFINE_bool(
    "protocol_report",
    False,
    "also score the test split at each validation, and report which checkpoint it would select",
  )
  flags.DEFINE_bool("version", False, "print versions, devices and the digest of --config, as for a bug report")
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
