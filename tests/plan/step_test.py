"""What a step is compiled with where neither data nor weights are there."""

import pytest

from configs import cuhk, icfg, toy
from tireid_jax.data.raw import schema
from tireid_jax.plan import step
from tireid_jax.training import stages


def test_counts_are_the_published_ones_where_nothing_is_prepared(tmp_path):
  config = cuhk.get_config()
  config.data_dir = str(tmp_path)
  assert step.training_counts(config, stages.from_config(config, 2)) == schema.Counts(11_003, 34_054, 68_126)


def test_identities_that_are_held_out_take_their_fraction_of_images_and_captions(tmp_path):
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
def test_the_compiler_s_refusal_says_what_is_needed(message, needed):
  assert step.needed_memory(message) == needed
