"""Shows what the model of a run does, as one HTML file that loads nothing from elsewhere.

python -m tireid_jax.report --workdir=W
python -m tireid_jax.report --workdir=W --stage=1 --split=val --to=FILE.html
python -m tireid_jax.report --workdir=W --data=configs/icfg.py                     on another data set

It contains training curves, the metrics that evaluate prints, ranked examples with the relevance of each word, the most
confused identities, the similarities of captions and images, how far the prompts moved, the words nearest to them, and
on ToyPEDES the attributes that the model gets wrong.
"""

import pathlib

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.config import values as config_lib
from tireid_jax.data.prepared import splits
from tireid_jax.data.toy import truth
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.evaluation import embedding
from tireid_jax.metrics import DIRECTIONS
from tireid_jax.report import analysis
from tireid_jax.reporting import run_report
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import loading
from tireid_jax.workdir import checkpoint, layout, metric_log

FILE = "report.html"
# Their pictures fit the page's size.
MAX_EXAMPLES = 60


def main(_: list[str]) -> None:
  options = flags.FLAGS
  if options.data is not None:
    config_file.print_sources()
  target = _check(options)
  stage = options.stage or _last_stage(options.workdir)
  compilation_cache.enable_persistent_cache()
  loaded = loading.load_stage(options.workdir, stage)
  split = loading.open_split(loaded, options.split, data=options.data)
  data = options.data if options.data is not None else loaded.config
  info = splits.dataset_info(data.data_dir, data.data.name, loaded.config.data.image_size, loaded.config.data.tokenizer)
  persons = {int(number): name for number, name in info.get("persons", {}).items()}
  found = analysis.analyse(
    loaded, split, workdir=options.workdir, stage=stage, num_examples=options.num_examples, persons=persons,
    raw=options.raw, data_dir=data.data_dir, show_progress=True,
  )  # fmt: skip
  folders = {f"stage {number}": layout.stage_folder(options.workdir, number) for number in config_lib.STAGES}
  run_report.write_report(
    target,
    title=f"{split.name} {split.split}, {_named(stage)}",
    heading=f"Results on the {split.split} split of {split.name}",
    table=[{"direction": DIRECTIONS[name], **values} for name, values in embedding.summarize(found.scores).items()],
    marks_highest=False,
    stages=_stages(options.workdir),
    curves={name: metric_log.read_metrics(folder) for name, folder in folders.items()},
    select_by=loaded.config.select_by,
    queries=found.queries,
    further=found.sections,
    persons=persons,
    notes=_notes(options.workdir, stage, loaded, split),
  )
  log_line(f"wrote {target}")


def _check(options):
  """Returns the path of the page; raises UserError or MissingFileError for flags that cannot be used."""
  if not options.workdir:
    raise UserError("give --workdir=DIR of a run")
  if not 0 <= options.num_examples <= MAX_EXAMPLES:
    raise UserError(f"--num_examples={options.num_examples} must be from 0 to {MAX_EXAMPLES}")
  workdir = locations.check(locations.to_path(options.workdir, "--workdir"))
  target = locations.check(locations.to_path(options.to, "--to")) if options.to else workdir / FILE
  if options.to and isinstance(target, pathlib.Path):
    if target.is_dir():
      raise UserError(f"--to={options.to} is a folder; give the path of an HTML file")
    if not target.absolute().parent.is_dir():
      raise MissingFileError(f"--to={options.to}: there is no folder {target.parent}")
  if options.raw:
    truth.find_folder(locations.local_path(options.raw, "--raw"))
  layout.read_config(options.workdir)
  return target


def _last_stage(workdir):
  for number in reversed(config_lib.STAGES):
    if checkpoint.best_step(layout.stage_folder(workdir, number)) is not None:
      return str(number)
  raise MissingFileError(f"{workdir} holds no checkpoint of any stage; run python -m tireid_jax.main there first")


def _named(stage):
  return "pretrained weights" if stage == "pretrained" else f"stage {stage}"


def _stages(workdir):
  """Returns the table of finished stages."""
  rows = []
  for number in config_lib.STAGES:
    result = layout.read_result(workdir, number)
    if result:
      rows.append(
        {
          "stage": f"stage {number}",
          "data set": result["dataset"],
          **result["t2i"],
          "step": result["step"],
          "steps": result["steps"],
          "trainable": result["trainable_parameters"],
          "seconds": round(result["seconds"]),
        }
      )
  return rows


def _notes(workdir, stage, loaded, split):
  """Returns the paragraphs below the title."""
  config = loaded.config
  at = f" at step {loaded.step}" if loaded.step else ""
  return [
    f"{workdir}: {_named(stage)}{at}, model {config.model.variant}, seed {config.seed}.",
    f"The gallery has {len(split.person_id):,} images, the {len(split.captions):,} captions describe "
    f"{len(split.described):,} of them.",
  ]


if __name__ == "__main__":
  config_file.define_flag("data", None, "config of the data set, where it is not the workdir's")
  flags.DEFINE_string("workdir", "", "workdir of a run, also as gs://BUCKET/FOLDER")
  flags.DEFINE_string("stage", "", "pretrained, 0, 1 or 2; the last one that has a checkpoint by default")
  flags.DEFINE_string("split", "test", "train, val or test")
  flags.DEFINE_string("to", "", "HTML file to write; WORKDIR/report.html by default")
  flags.DEFINE_string("raw", "", "raw folder of ToyPEDES, for its true attributes; by default `raw` next to data_dir")
  flags.DEFINE_integer("num_examples", 12, "ranked example queries")
  cli.run(main)
