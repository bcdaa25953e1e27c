"""A small study: resuming, failures, and what is printed for a cluster."""

import contextlib
import dataclasses
import pathlib
import shlex
import sys
from unittest import mock

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from configs import toy
from tests import small_runs
from tireid_jax.config import config_file
from tireid_jax.study import entries, further, running, scoring, tables, toy_data
from tireid_jax.training import fit, loop

ROWS = (tables.TWO_STAGES, tables.AFTER_STAGE_1, tables.ZERO_SHOT)

pytestmark = pytest.mark.usefixtures("shared_compilation_cache")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  project = small_runs.make_project(tmp_path_factory.mktemp("project"))
  return small_runs.configured(project, stage1__epochs=1, stage2__epochs=2, stage2__learning_rate=0.03)


def make_entries(config, workdir, rows=ROWS, seeds=(1,)):
  return [entries.make(row, config, seed, workdir) for seed in seeds for row in rows]


def parsed(line):
  """Returns (config, stage, workdir) of a printed command."""
  python, dash_m, module, *arguments = shlex.split(line)
  assert (python, dash_m, module) == ("python", "-m", "tireid_jax.main")
  values = flags.FlagValues()
  config_file.define_flag("config", None, "", values)
  flags.DEFINE_string("stage", "", "", values)
  flags.DEFINE_string("workdir", "", "", values)
  with mock.patch.object(sys, "argv", ["main", *arguments]):  # where ml_collections finds the overrides
    values(sys.argv)
  return values.config, int(values.stage), pathlib.Path(values.workdir)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
  """Returns (entries, results folder) of an uninterrupted study."""
  workdir = tmp_path_factory.mktemp("whole")
  made = make_entries(config, workdir)
  assert running.run_missing(made, workdir / "results") == []
  return made, workdir / "results"


def test_a_killed_and_resumed_study_equals_one_that_was_not(whole, config, tmp_path, monkeypatch):
  made = make_entries(config, tmp_path)
  take_steps = fit.take_steps

  def kill_in_stage_2(experiment, state, train_step, after_step, profiler):
    def kill(step, *_):
      if experiment.stage.number == 2 and step == small_runs.STEPS_PER_EPOCH + 1:
        raise KeyboardInterrupt

    return take_steps(experiment, state, train_step, [*after_step, kill], profiler)

  monkeypatch.setattr(fit, "take_steps", kill_in_stage_2)
  with contextlib.suppress(KeyboardInterrupt):
    running.run_missing(made, tmp_path / "results")
    pytest.fail("the study was not killed")
  assert running.finished(made, tmp_path / "results") == {}
  monkeypatch.undo()
  # What is left is printed for a cluster, and can be run from there.
  (line,) = running.commands(made, tmp_path / "results", "configs/rstp.py")
  resumed_config, stage, workdir = parsed(line)
  loop.run(resumed_config, (stage,), workdir)
  assert running.run_missing(made, tmp_path / "results", trains=False) == []
  expected, found = (list(running.finished(*study).values()) for study in (whole, (made, tmp_path / "results")))
  assert len(found) == len(ROWS)
  for one, other in zip(expected, found, strict=True):
    del one.data["cost"]["seconds"], other.data["cost"]["seconds"]
    assert one.data == other.data
    for name, values in vars(one.scores).items():
      np.testing.assert_array_equal(values, getattr(other.scores, name))


def test_a_finished_study_runs_nothing_even_without_its_workdir(whole, config, tmp_path, monkeypatch):
  _, folder = whole
  elsewhere = make_entries(config, tmp_path)
  monkeypatch.setattr(loop, "run", lambda *_: pytest.fail("a finished cell was run again"))
  assert running.run_missing(elsewhere, folder) == []
  assert running.commands(elsewhere, folder, "configs/rstp.py") == []
  assert running.commands(elsewhere, tmp_path, "configs/rstp.py") != []


def test_a_row_that_fails_is_reported_and_does_not_stop_the_others(whole, config, tmp_path, capsys):
  made, folder = whole
  broken = config.copy_and_resolve_references()
  broken.pretrained = str(tmp_path / "nowhere")
  bad = make_entries(broken, tmp_path, ROWS[:2])
  failures = running.run_missing([*bad, *made], folder)
  assert [failure.entry for failure in failures] == bad
  assert "nowhere" in failures[0].reason
  assert "failed before" in failures[1].reason
  assert set(running.finished([*bad, *made], folder)) == set(made)
  assert "failed: " in capsys.readouterr().err


def scored(entry, monkeypatch, fractions=scoring.FRACTIONS):
  monkeypatch.setattr(scoring, "FRACTIONS", fractions)
  return scoring.score(entry)


def test_weights_are_interpolated_between_the_pretrained_and_the_trained_ones(whole, monkeypatch):
  made, _ = whole
  mixed = dataclasses.replace(made[0], row=tables.Row("mixed", derived="interpolated"))
  trained, result = scored(mixed, monkeypatch, (1.0,)), made[0].cell.result()
  assert trained.data["t2i"] == pytest.approx(result["t2i"])
  assert trained.data["selection"]["t2i"] == pytest.approx(result["selection"]["t2i"])
  half = scored(mixed, monkeypatch, (0.5, 0.0)).data
  alone = [scored(mixed, monkeypatch, (fraction,)).data for fraction in (0.5, 0.0)]
  best = max(alone, key=lambda data: data["selection"]["t2i"]["R@1"])
  assert (half["fraction_fine_tuned"], half["t2i"]) == (best["fraction_fine_tuned"], best["t2i"])


def test_no_fraction_of_weights_is_selected_on_the_test_split(whole):
  cell = whole[0][0].cell
  config = cell.config.copy_and_resolve_references()
  config.select_on = "test"
  mixed = tables.Row("mixed", derived="interpolated")
  found = scoring.score(dataclasses.replace(whole[0][0], row=mixed, cell=dataclasses.replace(cell, config=config)))
  assert (found.data["fraction_fine_tuned"], found.data["selection"]) == (0.5, None)


def test_the_synthetic_data_that_a_transferred_model_is_tested_on_are_made_first(tmp_path, monkeypatch):
  row = tables.Row("row", derived="transfer", dataset="toy_generic", test_dataset="toy_pedes")
  config = toy.get_config()
  config.data.name = row.dataset
  made = []

  def encode(*_):
    raise InterruptedError(*made)

  monkeypatch.setattr(toy_data, "make", lambda config, name: made.append(name))
  monkeypatch.setattr(further, "encode", encode)
  monkeypatch.setitem(scoring.DERIVED, "transfer", lambda entry: scoring.Scored(None, {}))
  with pytest.raises(InterruptedError, match="toy_pedes"):
    scoring.score(entries.make(row, config, 0, tmp_path))


def test_a_model_without_its_prompts_has_the_same_weights_and_other_embeddings(whole):
  made, _ = whole
  tokens = jnp.array([[1, 2, 3, small_runs.NUM_IDS - 1]])
  bare, trained = (scoring.DERIVED[name](made[0]).loaded for name in ("without_prompts", "transfer"))
  chex.assert_trees_all_equal(bare.variables["params"], trained.variables["params"])
  embeddings = [one.model.apply(one.variables, tokens, method="encode_text") for one in (bare, trained)]
  assert not np.allclose(*embeddings)


@pytest.mark.parametrize("ablation", ["", "no_prompts_long", "reversed", "stage1_sdm_id", "joint"])
def test_each_printed_command_has_the_config_of_its_cell(config, tmp_path, ablation):
  (entry,) = make_entries(config, tmp_path, [tables.Row("row", ablation)])
  lines = running.commands([entry], tmp_path / "results", "configs/rstp.py")
  assert len(lines) == len(entry.needed())
  for line, cell in zip(lines, entry.needed(), strict=True):
    given, stage, workdir = parsed(line)
    assert (given.to_dict(), stage, workdir) == (cell.config.to_dict(), cell.number, cell.folder)


def test_the_record_of_a_row_has_the_metrics_of_its_run(whole):
  made, folder = whole
  record = running.finished(made, folder)[made[0]]
  result = made[0].cell.result()
  assert (record.data["t2i"], record.data["step"]) == (result["t2i"], result["step"])
  assert record.scores.summary() == pytest.approx(record.data["t2i"], abs=1e-4)
  assert record.data["cost"]["steps"] == 3 * small_runs.STEPS_PER_EPOCH
