"""python -m tireid_jax.data.toy --config=configs/toy.py --to=DIR: writes DIR/ToyPEDES and DIR/ToyGeneric.

With --persons=toy_illustrated, DIR/ToyIllustrated instead of DIR/ToyPEDES.
"""

from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.data.datasets import toy
from tireid_jax.data.toy.domains import DOMAINS
from tireid_jax.data.toy.write import write_all
from tireid_jax.errors import UserError
from tireid_jax.storage import locations


def main(_: list[str]) -> None:
  options = flags.FLAGS
  if options.config is None or not options.to:
    raise UserError("give --config=configs/toy.py and --to=DIR")
  config_file.print_sources()
  write_all(locations.local_path(options.to, "--to"), options.config.toy, options.persons)


if __name__ == "__main__":
  config_file.define_flag("config", None, "config with the sizes and the seed, config.toy")
  flags.DEFINE_enum("persons", toy.PEDES.name, list(DOMAINS), "data set of persons")
  flags.DEFINE_string("to", "", "folder to write the data sets into")
  cli.run(main)
