"""Prepares a raw data set: images decoded and resized once, captions tokenized once, everything checked.

    python -m tireid_jax.data.prepare --config=configs/cuhk.py --raw=DIR [--skip_bad] [--page=REPORT.html]

DIR is the data set's raw folder or its parent. The result is config.data_dir/NAME/HxW/VERSION, which appears whole or
not at all, with a report on the data: report.txt, and report.html with pictures. A killed run resumes: what it decoded
is in a hidden folder next to the result. It takes about 0.2 GiB of memory for data sets of any size, plus the captions.
"""

from absl import flags

from tireid_jax.config import config_file
from tireid_jax.data.datasets import custom
from tireid_jax.data.preparation.pipeline import prepare
from tireid_jax.errors import UserError

__all__ = ["prepare"]


def main(argv):
  """Prepares the data set of --config from --raw."""
  del argv
  config, raw = flags.FLAGS.config, flags.FLAGS.raw
  if config is None or not raw:
    missing = "--config is missing; give it a file like configs/cuhk.py"
    raise UserError(missing if config is None else "--raw is missing; give it the folder of the data set")
  config_file.print_sources()
  data = config.data
  prepare(
    data.name,
    raw,
    config.data_dir,
    tuple(data.image_size),
    tokenizer=data.tokenizer,
    settings=config.custom if custom.is_custom(data.name) and "custom" in config else None,
    use_exif=data.use_exif,
    skip_bad=flags.FLAGS.skip_bad,
    page=flags.FLAGS.page,
  )


if __name__ == "__main__":
  from tireid_jax import cli

  config_file.define_flag("config", None, "Config file; its data.name, data.image_size and data_dir are used.")
  flags.DEFINE_string("raw", None, "Folder of the raw data set, or the folder that holds it.")
  flags.DEFINE_string("page", "", "HTML file for the report, also of a data set that cannot be prepared as it is.")
  flags.DEFINE_bool("skip_bad", False, "Leaves out entries and images that cannot be used, and records which.")
  cli.run(main)
