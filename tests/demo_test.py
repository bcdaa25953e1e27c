"""The demo end to end at a small size, and a control experiment in which shuffled pairs leave nothing to learn."""

import json

import numpy as np
import pytest

from configs import toy
from tests.commands import SMALLEST_DEMO, run, succeed
from tireid_jax import demo
from tireid_jax.data import prepare
from tireid_jax.data.toy import write

pytestmark = pytest.mark.slow


def test_the_demo_writes_its_table_and_report_and_fails_if_a_threshold_is_not_reached(tmp_path):
  done = run("demo", f"--to={tmp_path}/demo", *SMALLEST_DEMO)
  # One or two training steps cannot reach the thresholds.
  assert done.returncode == 1, done.stderr[-2000:]
  assert "thresholds: seed 0: " in done.stdout
  for row in ("zero-shot", "after stage 1", "after stage 2", "direct fine-tuning, steps of both stages"):
    assert row in done.stdout
  table = json.loads((tmp_path / "demo/demo.json").read_text())
  assert table["chance_r1"] == pytest.approx(100 / 60)
  assert max(v for name, v in table["ceilings"].items() if " " not in name and name != "everything") < 30
  page = (tmp_path / "demo/report.html").read_text()
  assert page.count("data:image/jpeg") >= 12 * 10
  for part in ("direct fine-tuning: loss", "Failures by attribute", "Most confused identities", "docs/study.md"):
    assert part in page
  assert "docs/study.md" in done.stdout
  again = run("demo", f"--to={tmp_path}/demo", *SMALLEST_DEMO)
  assert "stage 2 is finished" in again.stderr


def trained_r1(raw, folder):
  """Returns the test R@1 in percent after a short pre-training on the generic domain."""
  prepare.prepare("toy_generic", raw, folder / "data", toy.get_config().data.image_size, show_progress=False)
  # With the default compiler optimisations, because the steps take longer than their compilation.
  done = run(
    "main", "--config=configs/toy.py", "--stage=0", f"--workdir={folder}/run", f"--config.data_dir={folder}/data",
    "--config.model.variant=tiny", "--config.stage0.epochs=4", "--config.select_on=last", XLA_FLAGS="",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads((folder / "run/stage0/result.json").read_text())["t2i"]["R@1"]


def test_training_on_shuffled_pairs_stays_at_chance_level(tmp_path):
  raw = tmp_path / "raw"
  write.write_generic(raw, seed=0, num_train_images=1600, num_eval_images=200)
  chance, num_queries = 100 / 200, 2 * 200
  highest = chance + 4 * np.sqrt(chance * (100 - chance) / num_queries)
  right = trained_r1(raw, tmp_path / "right")
  assert right > 2 * highest
  # The stage has data of its own, on which evaluate scores it too.
  table = succeed("evaluate", f"--workdir={tmp_path}/right/run", "--stage=0")
  assert "toy_generic test, stage 0" in table
  assert f" {right:.2f} " in table

  annotations = raw / write.GENERIC_FOLDER / "reid_raw.json"
  entries = json.loads(annotations.read_text())
  training = [entry for entry in entries if entry["split"] == "train"]
  captions = [training[index]["captions"] for index in np.random.default_rng(0).permutation(len(training))]
  for entry, shuffled in zip(training, captions, strict=True):
    entry["captions"] = shuffled
  annotations.write_text(json.dumps(entries))
  assert trained_r1(raw, tmp_path / "shuffled") < highest


def test_each_threshold_that_is_not_reached_is_reported():
  def result(r1):
    return {"t2i": {"R@1": r1}}

  rows = {demo.ZERO_SHOT: result(3.0), demo.STAGE_1: result(6.0), demo.STAGE_2: result(11.0)}
  assert demo._missed_thresholds(0, rows, chance=1.0) == []
  assert len(demo._missed_thresholds(0, rows, chance=1.1)) == 1
  assert len(demo._missed_thresholds(0, {**rows, demo.STAGE_1: result(5.9)}, chance=1.0)) == 1
  assert len(demo._missed_thresholds(0, {**rows, demo.STAGE_2: result(10.9)}, chance=1.0)) == 1
