"""The model card of toy_clip: it is of the packaged weights, and what it derives from the log and config of the run."""

import hashlib

from benchmarks import model_card
from configs import toy_clip
from tireid_jax.models.weights import packaged


def test_the_card_is_of_the_packaged_weights():
  folder = packaged.find("toy_clip")
  assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in (folder / "README.md").read_text()


def test_scores_are_listed_at_halves_of_the_pictures_seen_up_to_the_step_of_the_weights():
  records = [{"step": 10 * n, "val/t2i/R@1": float(n)} for n in range(1, 12)]
  records.append({"step": 100, "loss/total": 2.0})
  assert model_card.doublings(records, 2, last_step=80) == [(20, 1.0), (40, 2.0), (80, 4.0), (160, 8.0)]


def test_only_fields_that_differ_from_the_config_file_and_change_the_result_become_flags():
  config = toy_clip.get_config()
  assert model_card.changed_fields(config, toy_clip.get_config()) == []
  config.pool.folder, config.stage0.epochs, config.seed = "/pool", 7, 2
  assert model_card.changed_fields(config, toy_clip.get_config()) == ["--config.seed=2", "--config.stage0.epochs=7"]


def test_every_augmentation_of_pictures_is_named():
  augment = toy_clip.get_config().stage0.augment
  assert model_card.describe_augmentation(augment) == "shifts by up to 3 pixels"
  augment.hue, augment.erase_probability, augment.pad = 0.25, 0.5, 0
  assert model_card.describe_augmentation(augment) == "erase_probability 0.5, hue 0.25"
