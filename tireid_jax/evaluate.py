"""Scores a stage's checkpoint, or the pretrained weights alone, on a split of any prepared data set.

python -m tireid_jax.evaluate --workdir=W --stage=2 --split=test
python -m tireid_jax.evaluate --workdir=W --stage=2 --split=test --data=configs/icfg.py     across data sets
python -m tireid_jax.evaluate --config=configs/cuhk.py --config.pretrained=CLIP --stage=pretrained --split=test
"""

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file, paths
from tireid_jax.config import values as config_lib
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.evaluation import embedding, score_file
from tireid_jax.metrics import DIRECTIONS
from tireid_jax.parallel import distributed
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.terminal.progress import log_line
from tireid_jax.terminal.table import format_table
from tireid_jax.training import loading
from tireid_jax.workdir import layout


def main(_: list[str]) -> None:
  options = flags.FLAGS
  distributed.initialize(options)
  compilation_cache.enable_persistent_cache()
  if distributed.is_first():
    config_file.print_sources()
  distributed.run_on_all(lambda: _check(options))
  loaded = loading.load_stage(options.workdir, options.stage, config=options.config)
  model, variables, config, mesh, step = loaded
  split = loading.open_split(loaded, options.split, data=options.data)
  encoders = embedding.Encoders(model, mesh, config.evaluation.batch_size)
  image, text, scores = encoders.score(variables, split, config.data.caption_lengths, show_progress=True)
  title = f"{split.name} {options.split}, stage {options.stage}" + (f", step {step}" if step else "")

  def report():
    rows = [{"direction": DIRECTIONS[name], **values} for name, values in embedding.summarize(scores).items()]
    print(title, format_table(rows), sep="\n")
    if split.num_distractors:
      print(f"gallery: {len(split.person_id):,} images, {split.num_distractors:,} of them distractors")
    if options.dump:
      arrays = {
        "image_embeddings": image, "text_embeddings": text, "image_ids": split.person_id,
        "text_ids": split.person_id[split.caption_image], **score_file.to_arrays(scores, split),
      }  # fmt: skip
      layout.write_npz(locations.to_path(options.dump, "--dump"), arrays)
      log_line(f"wrote {options.dump}")

  distributed.run_on_first(report)


def _check(options):
  """Raises UserError or MissingFileError for flags that do not fit together."""
  if bool(options.workdir) == (options.config is not None):
    raise UserError("give either --workdir=DIR of a run, or --config=FILE for pretrained weights alone")
  if not options.workdir and options.stage != "pretrained":
    raise UserError(f"--stage={options.stage} is in a workdir; give --workdir=DIR, or --stage=pretrained")
  locations.check(locations.to_path(options.workdir, "--workdir"))
  dump = locations.check(locations.to_path(options.dump, "--dump"))
  if options.dump and not locations.is_remote(dump) and not dump.absolute().parent.is_dir():
    raise MissingFileError(f"--dump={options.dump}: there is no folder {dump.parent}")
  if options.config is not None:
    config_lib.check(options.config)
    paths.with_absolute_paths(options.config)


if __name__ == "__main__":
  config_file.define_flag("config", None, "config, where there is no workdir")
  config_file.define_flag("data", None, "config of the data set, where it is not the workdir's")
  flags.DEFINE_string("workdir", "", "workdir of a run, also as gs://BUCKET/FOLDER")
  flags.DEFINE_string("stage", "2", "pretrained, 0, 1 or 2")
  flags.DEFINE_string("split", "test", "train, val or test")
  flags.DEFINE_string("dump", "", "npz file for embeddings, ids and ranks")
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
