"""python -m tireid_jax.data.synth --config=configs/synth.py --to=DIR: writes DIR/SynthPEDES and DIR/SynthGeneric."""

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.data.synth.write import write_all
from tireid_jax.errors import UserError
from tireid_jax.storage import files


def main(_):
  options = flags.FLAGS
  if options.config is None or not options.to:
    raise UserError("give --config=configs/synth.py and --to=DIR")
  config_file.print_sources()
  write_all(files.local_path(options.to, "--to"), options.config.synth)


if __name__ == "__main__":
  config_file.define_flag("config", None, "config with the sizes and the seed, config.synth")
  flags.DEFINE_string("to", "", "folder to write SynthPEDES and SynthGeneric into")
  cli.run(main)
