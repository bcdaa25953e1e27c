"""Compiles a stage's training step for a TPU slice, on any machine, and estimates its memory, time and communication.

python -m tireid_jax.plan --config=configs/cuhk.py --stage=2 --topology=v5e:4x4
python -m tireid_jax.plan --config=configs/cuhk.py --stage=2 --topology=v5e --sweep --json=FILE --plot=FILE.png
python -m tireid_jax.plan --config=configs/cuhk.py --stage=2 --topology=v5e:4x4 --slices=2
python -m tireid_jax.plan --config=configs/cuhk.py --stage=2 --topology=cpu:8

Nothing is executed, so neither data, weights nor a TPU are needed. To plan for a TPU, its compiler must be installed
(requirements-tpu.txt).
"""

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.errors import UserError
from tireid_jax.plan import plot, show, sweep
from tireid_jax.plan.estimate import make_plan
from tireid_jax.storage import files, locations
from tireid_jax.terminal.progress import log_line

# Arguments of `make_plan`, and the flags that give them.
_OPTIONS = {"num_slices": "slices", "dcn_gbps": "dcn_gbps", "caption_length": "caption_length"}


def main(_):
  options = flags.FLAGS
  if options.config is None or not options.topology:
    raise UserError(
      "give --config=FILE (such as configs/cuhk.py), --stage=N and --topology=NAME (such as v5e:4x4 or cpu:8)"
    )
  if options.stage not in ("0", "1", "2"):
    raise UserError(f"--stage={options.stage} is not a stage with a training step; give 0, 1 or 2")
  if options.plot and not options.sweep:
    raise UserError("--plot shows how a step scales; give --sweep too")
  if options.plot:
    plot.require_matplotlib()
  if len(options.topology) > 1 and not options.sweep:
    raise UserError(f"--topology={','.join(options.topology)} names several; give one, or --sweep too")
  if options.dcn_gbps < 0:
    raise UserError(f"--dcn_gbps={options.dcn_gbps} must be above 0, or 0 for the published bandwidth")
  json_file, picture = (
    value and locations.local_path(value, flag) for value, flag in ((options.json, "--json"), (options.plot, "--plot"))
  )
  config_file.print_sources()
  number = int(options.stage)
  arguments = {name: getattr(options, flag) for name, flag in _OPTIONS.items()}
  if options.sweep:
    found = _sweep(options.config, number, options.topology, arguments, picture)
  else:
    found = make_plan(options.config, number, options.topology[0], **arguments)
    print(show.describe(found))
  if json_file:
    files.write_json(json_file, found)


def _sweep(config, number, names, arguments, picture):
  plans = sweep.sweep(config, number, sweep.topologies_of(names), **arguments, log=log_line)
  print(sweep.format_sweep(plans))
  points = sweep.scaling_points(plans)
  if picture and points:
    title = (
      f"{config.model.variant}, stage {number}, the largest batch that fits: examples/s, as the compiler estimates"
    )
    plot.scaling_plot(points, title).savefig(picture)
  return plans


if __name__ == "__main__":
  config_file.define_flag("config", None, "config file, such as configs/cuhk.py[:ABLATION]")
  flags.DEFINE_string("stage", "", "0, 1 or 2")
  flags.DEFINE_list(
    "topology", [], "TPU and slice shape, such as v5e:4x4, or cpu:N; with --sweep also several, or v5e for all shapes"
  )
  flags.DEFINE_integer("slices", 1, "number of slices of this shape, joined by the data-center network (DCN)")
  flags.DEFINE_float("dcn_gbps", 0, "Gbit/s that a chip can send to other slices; 0 for the published bandwidth")
  flags.DEFINE_bool("sweep", False, "find the largest batch that fits each topology")
  flags.DEFINE_integer("caption_length", 0, "one of data.caption_lengths, in tokens; 0 for the longest")
  flags.DEFINE_string("json", "", "also write the plan to this file")
  flags.DEFINE_string("plot", "", "with --sweep: also plot examples/s over chips to this PNG")
  cli.run(main)
