"""The sizes with which a step is compiled if there are neither data nor weights."""

import pytest

from configs import cuhk, icfg, toy
from tireid_jax.data.raw import schema
from tireid_jax.plan import step
from tireid_jax.training import stages


def test_without_prepared_data_the_published_counts_are_used(tmp_path):
  config = cuhk.get_config()
  config.data_dir = str(tmp_path)
  assert step.training_counts(config, stages.from_config(config, 2)) == schema.Counts(11_003, 34_054, 68_126)


def test_held_out_identities_reduce_images_and_captions_in_proportion(tmp_path):
  config = icfg.get_config()
  config.data_dir, config.data.val_identities = str(tmp_path), 102
  assert step.training_counts(config, stages.from_config(config, 2)) == schema.Counts(3_000, 33_534, 33_534)


def test_a_data_set_of_unknown_size_must_be_prepared(tmp_path):
  config = toy.get_config()
  config.data_dir = str(tmp_path)
  with pytest.raises(ValueError, match=r"the size of toy_pedes is not published.*data.prepare"):
    step.training_counts(config, stages.from_config(config, 2))


@pytest.mark.parametrize(
  ("message", "needed"),
  [
    ("the total memory required for HLO temporaries (70.50G) exceeds available HBM (15.75G).", 70.5 * 2**30),
    ("Ran out of memory in memory space hbm. Used 512.0M of 15.75G hbm. Exceeded", 512 * 2**20),
    ("no figure", None),
  ],
)
def test_the_needed_memory_is_parsed_from_the_compilers_error(message, needed):
  assert step.needed_memory(message) == needed
