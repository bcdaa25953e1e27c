"""The report on the choice of the checkpoint: its numbers, and that selection does not depend on it."""

import json
import types

import pytest

from configs import rstp
from tests import small_runs
from tireid_jax.metrics import DIRECTIONS, METRICS
from tireid_jax.training import loop, protocol_report


def every_metric(value):
  return {direction: dict.fromkeys(METRICS, value) for direction in DIRECTIONS}


def experiment(folder, by_step, num_steps=9):
  """Returns a stand-in for an experiment whose log has these test scores by step, in every metric."""
  lines = []
  for step, value in by_step.items():
    scores = {f"{protocol_report.PREFIX}/{name}/{metric}": value for name in DIRECTIONS for metric in METRICS}
    lines.append(json.dumps({"step": step, "seconds": 0.0, "val/t2i/R@1": 99.0, **scores}))
  (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
  stage = types.SimpleNamespace(number=2, evaluate_every_epochs=1)
  return types.SimpleNamespace(
    folder=folder, run_folder=folder, config=rstp.get_config(), num_steps=num_steps, stage=stage,
    batches=types.SimpleNamespace(steps_per_epoch=3),
  )  # fmt: skip


def test_the_three_choices_and_the_bias_of_selecting_on_the_test_split(tmp_path):
  found = protocol_report.summarize(
    experiment(tmp_path, {3: 40.0, 6: 55.0, 9: 30.0}), {"step": 3, **every_metric(40.0)}
  )
  assert {name: (found[name]["step"], found[name]["t2i"]["R@1"]) for name in ("selected", "last", "best_on_test")} == {
    "selected": (3, 40.0), "last": (9, 30.0), "best_on_test": (6, 55.0),
  }  # fmt: skip
  assert found["bias"] == 15.0


def test_of_equal_test_scores_the_later_step_wins(tmp_path):
  found = protocol_report.summarize(
    experiment(tmp_path, {3: 55.0, 6: 55.0, 9: 30.0}), {"step": 3, **every_metric(55.0)}
  )
  assert (found["best_on_test"]["step"], found["bias"]) == (6, 0.0)


def test_a_stage_that_was_begun_without_the_report_cannot_be_continued_with_it(tmp_path):
  protocol_report.check(experiment(tmp_path, {3: 1.0, 6: 1.0}), first_step=8)
  protocol_report.check(experiment(tmp_path, {}), first_step=0)
  with pytest.raises(ValueError, match="stage 2 in .* was trained without --protocol_report up to step 6, .* choose"):
    protocol_report.check(experiment(tmp_path, {3: 1.0}), first_step=8)


@pytest.mark.usefixtures("shared_compilation_cache")
def test_the_report_is_in_the_result_and_changes_nothing_else(tmp_path):
  project = small_runs.make_project(tmp_path)
  config = small_runs.configured(project, stage2__epochs=2, stage2__init_from="pretrained", stage2__learning_rate=0.03)
  without = loop.run(config, (2,), tmp_path / "without")[2]
  reported = loop.run(config, (2,), tmp_path / "with", reports_protocol=True)[2]
  report = reported.pop("protocol_report")
  for one in (without, reported):
    del one["seconds"]
  assert reported == without
  assert (report["selected"]["t2i"], report["selected"]["step"]) == (without["t2i"], without["step"])
  assert report["best_on_test"]["t2i"]["R@1"] >= without["t2i"]["R@1"]
  assert json.loads((tmp_path / "with/stage2/result.json").read_text())["protocol_report"] == report
  with pytest.raises(ValueError, match="was finished without --protocol_report"):
    loop.run(config, (2,), tmp_path / "without", reports_protocol=True)
