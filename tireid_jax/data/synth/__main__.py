"""python -m tireid_jax.data.synth --config=configs/synth.py --to=DIR: writes DIR/SynthPEDES and DIR/SynthGeneric."""

from absl import flags
from ml_collections import config_flags

from tireid_jax import cli
from tireid_jax.data.synth.write import write_generic, write_pedes

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration with the sizes and the seed, config.synth.")
_TO = flags.DEFINE_string("to", "", "Folder to write SynthPEDES and SynthGeneric into.")


def main(argv):
  del argv
  if _CONFIG.value is None or not _TO.value:
    raise ValueError("give --config=configs/synth.py and --to=DIR")
  synth = _CONFIG.value.synth
  write_pedes(
    _TO.value,
    seed=synth.seed,
    num_train_ids=synth.num_train_ids,
    num_val_ids=synth.num_val_ids,
    num_test_ids=synth.num_test_ids,
    images_per_id=synth.images_per_id,
  )
  write_generic(
    _TO.value,
    seed=synth.seed,
    num_train_images=synth.generic_train_images,
    num_eval_images=synth.generic_eval_images,
  )


if __name__ == "__main__":
  cli.run(main)
