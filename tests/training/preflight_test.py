"""A mistake in any stage of a run is reported before the first stage starts, and nothing is written."""

import pytest

from tests import small_runs
from tireid_jax.models.weights import packaged
from tireid_jax.profiling.capture import Window
from tireid_jax.storage import files
from tireid_jax.training import loop, preflight, sources
from tireid_jax.workdir import layout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  return small_runs.make_project(tmp_path_factory.mktemp("project"))


MISTAKES = [
  ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
  ({"stage2__epochs": 0}, "stage2.epochs is 0"),
  ({"stage2__augment": {"flip": 2.0}}, "stage2.augment.flip is 2.0; it must be a probability from 0 to 1"),
  ({"stage1__augment": {"rotation": 200.0}}, "stage1.augment.rotation is"),
  ({"stage1__sampler": {"kind": "persons"}}, "stage1.sampler.kind is 'persons'"),
  ({"stage2__sampler": {"kind": "images", "captions_per_image": 3}}, "stage2.batch_size 8 must be a multiple of the 3"),
  (
    {"stage2__augment_text": {"mask_probability": 0.5, "mask_token": 10**6}},
    "stage2.augment_text.mask_token is 1000000; it must be the id of a word, from 1 to",
  ),
  ({"stage2__batch_size": 9, "mesh": {"data": 2, "fsdp": 1}}, "mesh"),
  ({"stage2__trains": ("prompts/audio_encoder", "params/id_head")}, "stage2.trains names 'prompts/audio_encoder'"),
  ({"stage2__init_from": "nowhere"}, "stage 2 starts from 'nowhere', which is no file or folder"),
  ({"stage1__init_from": "stage0"}, "stage 1 starts from stage 0, but"),
  ({"prompts__depth": 2}, "prompts.depth is 2, but the encoders have 1 (image) and 1 (text) blocks"),
  ({"model__variant": "tiny"}, "are for a different model than configured: their image.width is 64"),
  ({"model__variant": "tinyy"}, "model.variant is 'tinyy' (did you mean 'tiny'?)"),
  ({"pretrained": ""}, "stage 1 starts from pretrained weights, but pretrained is empty"),
  ({"data_dir": "nowhere"}, "nowhere"),
  ({"select_on": "train"}, "select_on is 'train'"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=[next(iter(changes)) for changes, _ in MISTAKES])
def test_a_mistake_in_any_stage_is_reported_before_the_first_stage_starts(project, tmp_path, changes, message):
  with pytest.raises(ValueError) as error:
    loop.run(small_runs.configured(project, **changes), (1, 2), tmp_path / "run")
  assert message in str(error.value)
  assert not (tmp_path / "run").exists()


def test_weights_of_the_package_are_named_without_a_path(project, tmp_path, monkeypatch):
  monkeypatch.setattr(packaged, "FOLDER", project)  # whose folder `clip` has weights
  monkeypatch.setattr(packaged, "NAMES", ("clip",))
  config = small_runs.configured(project, pretrained="clip")
  assert sources.find_source(config, "pretrained", None, 1) == ("pretrained", "clip")
  config.pretrained = "clap"
  with pytest.raises(FileNotFoundError, match="'clap', which is no file or folder; .*, or clip, the weights of this"):
    sources.find_source(config, "pretrained", None, 1)


def test_an_unknown_loss_raises_an_error_with_its_name(project, tmp_path):
  config = small_runs.configured(project)
  with config.unlocked():
    config.stage2.losses.triplet = 1.0
  with pytest.raises(ValueError, match="there is no loss 'triplet'"):
    loop.run(config, (1, 2), tmp_path / "run")


def test_stage_2_alone_needs_a_finished_stage_1_to_start_from(project, tmp_path):
  with pytest.raises(FileNotFoundError, match="stage 2 starts from stage 1, but .* holds no finished run of it; run"):
    loop.run(small_runs.configured(project), (2,), tmp_path / "run")


def test_a_stage_may_start_from_an_earlier_stage_of_the_same_run(project, tmp_path):
  config = small_runs.configured(project, model__variant="from_weights")
  first, second = preflight.check(config, (1, 2), tmp_path / "run")
  assert first.source == ("pretrained", config.pretrained)
  assert second.source == ("checkpoint", tmp_path / "run/stage1")
  assert first.variant.image.num_blocks == 1  # as in the weights
  assert second.variant == first.variant


def test_a_profile_must_start_before_the_stage_ends(project, tmp_path):
  config = small_runs.configured(project, stage1__epochs=2)
  with pytest.raises(ValueError, match="--profile=7:2 starts after the end of stage 1, which has 6 steps"):
    loop.run(config, (1,), tmp_path / "run", Window(7, 2))


def test_starting_from_a_stage_that_was_trained_on_other_data_raises(project, tmp_path):
  config = small_runs.configured(project)
  layout.write_config(tmp_path, config, 1)
  files.write_json(tmp_path / "stage1/result.json", {"fingerprint": "of other data"})
  with pytest.raises(ValueError, match="stage 1 in .* was trained on another rstp_reid than the one prepared in"):
    loop.run(config, (1,), tmp_path)
