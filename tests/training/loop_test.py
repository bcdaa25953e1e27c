"""Runs of both stages whose best checkpoint is not the last: results, logs, kept checkpoints, resuming."""

import importlib.metadata
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import small_runs
from tests.small_runs import SIZE, STEPS_PER_EPOCH
from tireid_jax import metrics
from tireid_jax.config import values as config_lib
from tireid_jax.data.prepared import splits
from tireid_jax.evaluation import embedding
from tireid_jax.models import pretrained
from tireid_jax.parallel import sharding
from tireid_jax.training import loading, loop
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import checkpoint

# Tried in order until the best checkpoint of stage 2 is not its last.
SEEDS = range(2, 10)

pytestmark = pytest.mark.usefixtures("shared_compilation_cache")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  return small_runs.make_project(tmp_path_factory.mktemp("project"), num_datasets=2)


def configured(project, data=0, **changes):
  """As `small_runs.configured`, but stage 1 does not learn, so its scores are equal, and those of stage 2 fluctuate."""
  defaults = {
    "stage1__epochs": 2, "stage1__learning_rate": 0.0, "stage1__losses": {"identity": 1.0},
    "stage1__trains": ("prompts", "params/id_head"), "stage2__epochs": 5, "stage2__learning_rate": 0.03,
    "log_every_steps": 4,
  }  # fmt: skip
  return small_runs.configured(project, data, **{**defaults, **changes})


def lines(stage_folder, name):
  """Returns {step: value} of a metric in the log."""
  records = map(json.loads, (stage_folder / "metrics.jsonl").read_text().splitlines())
  return {record["step"]: record[name] for record in records if name in record}


def variables_of(stage_folder, step):
  return checkpoint.restore_variables(stage_folder, step, sharding.make_mesh(1, 1, 1))[0]


@pytest.fixture(scope="module")
def trained(project, tmp_path_factory):
  """Returns (workdir, config) of a run of both stages."""
  for seed in SEEDS:
    folder = tmp_path_factory.mktemp("run")
    config = configured(project, seed=seed)
    loop.run(config, (1, 2), folder)
    scores = lines(folder / "stage2", "val/t2i/R@1")
    if scores[5 * STEPS_PER_EPOCH] < max(scores.values()):
      return folder, config
  raise AssertionError("the last checkpoint is the best by every seed; choose other learning rates")


def result(folder, number):
  return json.loads((folder / f"stage{number}/result.json").read_text())


def test_a_checkpoint_says_what_it_was_trained_on_and_with(trained):
  folder, config = trained
  metadata = checkpoint.read_metadata(folder / "stage2", 15)
  split = splits.open_split(config.data_dir, "rstp_reid", SIZE, "train", tokenizer=config.data.tokenizer)
  named = ("stage", "step", "dataset", "fingerprint", "trains")
  assert [metadata[name] for name in named] == [2, 15, "rstp_reid", split.fingerprint, ["params"]]
  libraries = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
  assert metadata["versions"] == {name: importlib.metadata.version(name) for name in libraries}
  assert 0 < metadata["trainable_parameters"] < metadata["total_parameters"]
  assert config_lib.from_json(metadata["config"]).to_dict() == config.to_dict()


def test_each_epoch_is_validated(trained):
  folder, _ = trained
  assert list(lines(folder / "stage1", "val/t2i/R@1")) == [3, 6]
  assert list(lines(folder / "stage2", "val/i2t/mAP")) == [3, 6, 9, 12, 15]


def test_the_later_of_two_checkpoints_with_equal_scores_is_reported(trained):
  folder, _ = trained
  scores = lines(folder / "stage1", "val/t2i/R@1")
  assert scores[3] == scores[6]
  assert result(folder, 1)["step"] == 6


def test_the_best_checkpoint_is_reported_instead_of_the_last(trained):
  folder, config = trained
  scores, reported = lines(folder / "stage2", "val/t2i/R@1"), result(folder, 2)
  best = max(scores, key=lambda step: (scores[step], step))
  assert reported["step"] == best < 15
  assert reported["selection"]["t2i"]["R@1"] == scores[best]
  assert (reported["steps"], reported["selected_on"], reported["seed"]) == (15, "val", config.seed)


def test_the_reported_metrics_are_those_of_the_best_checkpoint_on_the_test_split(trained):
  folder, config = trained
  reported = result(folder, 2)
  model, _, _, mesh, step = loading.load_stage(folder, "2")
  assert step == reported["step"]
  split = splits.open_split(config.data_dir, "rstp_reid", SIZE, "test", tokenizer=config.data.tokenizer)
  # In the same batches, since rounding decides the ranking of images whose similarities are nearly equal here.
  encoders = embedding.Encoders(model, mesh, config.evaluation.batch_size)
  image, text = encoders.encode(variables_of(folder / "stage2", step), split, (77,))
  ids, caption_ids = split.person_id, split.person_id[split.caption_image]
  assert reported["t2i"] == pytest.approx(metrics.retrieval_metrics(text, image, caption_ids, ids))
  assert reported["i2t"] == pytest.approx(metrics.retrieval_metrics(image, text, ids, caption_ids))
  ranks = np.load(folder / "stage2/ranks_test.npz")
  assert 100 * np.mean(ranks["t2i_first_rank"] <= 5) == pytest.approx(reported["t2i"]["R@5"])


def test_the_best_and_the_newest_two_checkpoints_are_kept(trained):
  folder, _ = trained
  kept = {int(path.name) for path in (folder / "stage2/checkpoints").iterdir() if path.name.isdigit()}
  assert kept == {result(folder, 2)["step"], 12, 15}


def test_stage_1_starts_from_the_pretrained_weights_and_stage_2_from_stage_1(trained, project):
  folder, _ = trained
  first, last = variables_of(folder / "stage1", 6), variables_of(folder / "stage2", 15)
  _, loaded = pretrained.load(project / "clip", SIZE)
  chex.assert_trees_all_equal({**first["params"], "id_head": None}, {**loaded["params"], "id_head": None})
  chex.assert_trees_all_equal(first["prompts"], last["prompts"])
  assert all(np.any(leaf) for leaf in jax.tree.leaves(first["prompts"]))
  weights, learned = first["params"], {name: last["params"][name] for name in first["params"] if name != "logit_scale"}
  assert learned.keys() == {"image_encoder", "text_encoder", "id_head"}
  assert all(
    np.any(np.asarray(a) != b)
    for name in learned
    for a, b in zip(jax.tree.leaves(weights[name]), jax.tree.leaves(learned[name]), strict=True)
  )


def test_a_log_record_has_the_means_since_the_previous_record(trained, project, tmp_path):
  folder, config = trained
  each_step = configured(project, seed=config.seed, log_every_steps=1)
  loop.run(each_step, (1,), tmp_path)
  for name in ("loss/total", "loss/itc", "loss/identity", "gradient_norm/prompts"):
    loss, means = lines(tmp_path / "stage1", name), lines(folder / "stage1", name)
    assert list(loss) == [1, 2, 3, 4, 5, 6]
    assert len(set(loss.values())) == 6
    expected = {3: np.mean([loss[1], loss[2], loss[3]]), 4: loss[4], 6: np.mean([loss[5], loss[6]])}
    assert means == pytest.approx(expected, rel=1e-5)


def test_a_log_record_has_the_learning_rate_of_its_step_for_each_trained_group_and_no_other(trained):
  folder, _ = trained
  stage_folder = folder / "stage2"
  records = [json.loads(line) for line in (stage_folder / "metrics.jsonl").read_text().splitlines()]
  groups = {name for record in records for name in record if name.startswith("learning_rate/")}
  assert groups == {f"learning_rate/{group}" for group in ("weights", "biases", "id_head_weights", "id_head_biases")}
  # IRRA's recipe: twice the rate for biases, five times for the head; cosine decay over 5 epochs, set once per epoch.
  for group, factor in (("weights", 1), ("biases", 2), ("id_head_weights", 5), ("id_head_biases", 5)):
    rates = lines(stage_folder, f"learning_rate/{group}")
    expected = {step: factor * 0.03 * (1 + np.cos(np.pi * ((step - 1) // 3) / 5)) / 2 for step in rates}
    assert rates == pytest.approx(expected, rel=1e-5)


def test_a_non_finite_loss_ends_the_run_at_its_step_and_is_neither_saved_nor_logged(trained, project, tmp_path):
  folder, config = trained
  variables = variables_of(folder / "stage1", 6)
  kernel = variables["params"]["image_encoder"]["projection"]["kernel"]
  variables["params"]["image_encoder"]["projection"]["kernel"] = jnp.full_like(kernel, 3e38)
  with checkpoint.Checkpoints(tmp_path / "huge/stage1") as checkpoints:
    metadata = checkpoint.read_metadata(folder / "stage1", 6)
    checkpoints.save(TrainState(jnp.int32(1), variables, {"moment": jnp.zeros(1)}), metadata)
  changes = {"stage1__init_from": str(tmp_path / "huge"), "log_every_steps": 100}
  with pytest.raises(FloatingPointError, match="is nan at step 1"):
    loop.run(configured(project, seed=config.seed, **changes), (1,), tmp_path / "run")
  stage_folder = tmp_path / "run/stage1"
  assert "nan" not in (stage_folder / "metrics.jsonl").read_text().lower()
  assert not (stage_folder / "result.json").exists()
  assert checkpoint.best_step(stage_folder) is None


def id_head_of_a_run_from(source, project, folder, data, **changes):
  config = configured(project, data, stage1__init_from=str(source / "stage2"), **changes)
  loop.run(config, (1,), folder)
  return variables_of(folder / "stage1", 6)["params"]["id_head"]


def test_an_identity_head_is_reused_on_the_same_data_and_reinitialised_on_other_data_or_if_requested(
  trained, project, tmp_path, capsys
):
  folder, _ = trained
  learned = variables_of(folder / "stage2", result(folder, 2)["step"])["params"]["id_head"]
  assert np.any(learned["bias"])
  kept = id_head_of_a_run_from(folder, project, tmp_path / "same", data=0)
  chex.assert_trees_all_equal(kept, learned)
  assert "re-initialised" not in "".join(capsys.readouterr())
  other = id_head_of_a_run_from(folder, project, tmp_path / "other", data=1)
  assert "was trained on other identities" in "".join(capsys.readouterr())
  for new in (other, id_head_of_a_run_from(folder, project, tmp_path / "new", data=0, stage1__new_head=True)):
    assert new["kernel"].shape == learned["kernel"].shape
    assert 0.0005 < np.std(new["kernel"]) < 0.002  # IRRA's 0.001
    assert not np.any(new["bias"])


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("seed", 99), ("temperature", 0.5), ("select_on", "last"), ("prompts__init_std", 0.5), ("prompts__dropout", 0.5),
    ("select_by", "t2i/mAP"),
    ("model__position_resize", "bicubic"), ("stage1__learning_rate", 1.0), ("stage1__weight_decay", 0.5),
    ("stage1__losses", {"sdm": 1.0}), ("stage1__augment", {"flip": 0.1}), ("stage1__epochs", 3),
    ("stage1__init_from", "random"),
  ],
)  # fmt: skip
def test_resuming_a_workdir_with_another_value_of_a_field_that_affects_results_raises(trained, project, field, value):
  folder, config = trained
  before = (folder / "stage1/config.json").read_bytes()
  changed = configured(project, **{"seed": config.seed, field: value})
  with pytest.raises(ValueError, match=rf"holds stage 1 of another run: {field.replace('__', '.')}.* requested"):
    loop.run(changed, (1,), folder)
  assert (folder / "stage1/config.json").read_bytes() == before


def test_a_finished_stage_is_returned_when_only_fields_that_do_not_affect_results_change(trained, project):
  folder, config = trained
  finished, modified = result(folder, 1), (folder / "stage1/result.json").stat().st_mtime_ns
  changes = {
    "log_every_steps": 1, "checkpoint_every_steps": 7, "evaluation__batch_size": 8, "model__remat": "full",
    "model__blocks": "unrolled", "stage1__microbatch_size": 4,
  }  # fmt: skip
  assert loop.run(configured(project, seed=config.seed, **changes), (1,), folder) == {1: finished}
  assert (folder / "stage1/result.json").stat().st_mtime_ns == modified


def test_fields_of_stage_2_may_change_until_stage_2_has_started(trained, project, tmp_path):
  folder, config = trained
  changed = configured(project, seed=config.seed, stage2__learning_rate=1.0)
  assert 1 in loop.run(changed, (1,), folder)
  with pytest.raises(ValueError, match=r"stage2.learning_rate: 0.03 in the workdir, 1.0 requested"):
    loop.run(changed, (2,), folder)


def test_a_resumed_stage_without_remaining_steps_frees_its_state_before_the_evaluation(project, tmp_path, monkeypatch):
  config = configured(project, stage1__epochs=1)
  started = []

  def killed(experiment, start, **_):
    started.append(start)
    raise SystemExit

  monkeypatch.setattr(loop, "report", killed)
  for _ in range(2):  # the second one resumes after the last step
    with pytest.raises(SystemExit):
      loop.run(config, (1,), tmp_path)
  assert [start.state for start in started] == [None, None]
