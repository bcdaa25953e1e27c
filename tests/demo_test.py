"""The demo from end to end at a small size, and its control: with shuffled pairs there is nothing to learn."""

import json

import numpy as np
import pytest

from configs import synth
from tests.commands import run, succeed
from tireid_jax import demo, train
from tireid_jax.data import prepare
from tireid_jax.data.synth import write

SIZES = {
  "num_train_ids": 120, "num_val_ids": 20, "num_test_ids": 60, "images_per_id": 4, "generic_train_images": 64,
  "generic_eval_images": 16,
}  # fmt: skip


def test_the_demo_writes_its_table_report_and_picture_and_fails_when_a_gate_is_missed(tmp_path):
  flags = [f"--config.synth.{name}={value}" for name, value in {**SIZES, "num_train_ids": 16}.items()]
  flags += [f"--config.stage{n}.epochs=1" for n in (0, 1, 2)]
  done = run("demo", f"--to={tmp_path}/demo", *flags)
  # A step or two of training cannot meet the gates.
  assert done.returncode == 1, done.stderr[-2000:]
  assert "gates: seed 0: " in done.stdout
  for row in ("zero-shot", "after stage 1", "after stage 2", "direct fine-tuning, steps of both stages"):
    assert row in done.stdout
  table = json.loads((tmp_path / "demo/demo.json").read_text())
  assert table["chance_r1"] == pytest.approx(100 / 60)
  assert max(v for name, v in table["ceilings"].items() if " " not in name and name != "everything") < 30
  page = (tmp_path / "demo/report.html").read_text()
  assert page.count("data:image/jpeg") >= 12 * 10
  again = run("demo", f"--to={tmp_path}/demo", *flags)
  assert "stage 2 is finished" in again.stderr


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  folder = tmp_path_factory.mktemp("raw")
  flags = [f"--config.synth.{name}={value}" for name, value in SIZES.items()]
  succeed("data.synth", "--config=configs/synth.py", f"--to={folder}", *flags)
  return folder


def trained_r1(raw, folder):
  """Returns the test R@1, percent, after a short training from random weights on SynthPEDES itself."""
  config = synth.get_config()
  config.data_dir = str(folder / "data")
  prepare.prepare("synth_pedes", raw, config.data_dir, config.data.image_size, show_progress=False)
  config.stage0.update({"data": "synth_pedes", "epochs": 8, "warmup_epochs": 0.5, "learning_rate": 1e-3})
  config.select_on = "last"
  return train.run(config, (0,), folder / "run")[0]["t2i"]["R@1"]


def test_with_shuffled_pairs_training_ends_at_chance(raw, tmp_path):
  chance, num_queries = 100 / 60, 60 * 4 * 2
  deviation = np.sqrt(chance * (100 - chance) / (num_queries / 8))  # the captions of a person go together
  assert trained_r1(raw, tmp_path / "right") > chance + 3 * deviation

  annotations = raw / write.PEDES_FOLDER / "reid_raw.json"
  entries = json.loads(annotations.read_text())
  training = [entry for entry in entries if entry["split"] == "train"]
  order = np.random.default_rng(0).permutation(len(training))
  captions = [training[row]["captions"] for row in order]
  for entry, words in zip(training, captions, strict=True):
    entry["captions"] = words
  annotations.write_text(json.dumps(entries))
  assert trained_r1(raw, tmp_path / "shuffled") < chance + 3 * deviation


def test_gates_are_missed_by_the_seed_that_misses_them():
  def result(r1):
    return {"t2i": {"R@1": r1}}

  rows = {demo.ZERO_SHOT: result(3.0), demo.STAGE_1: result(6.0), demo.STAGE_2: result(11.0)}
  assert demo._missed_gates(0, rows, chance=1.0) == []
  assert len(demo._missed_gates(0, rows, chance=1.1)) == 1
  assert len(demo._missed_gates(0, {**rows, demo.STAGE_1: result(5.9)}, chance=1.0)) == 1
  assert len(demo._missed_gates(0, {**rows, demo.STAGE_2: result(10.9)}, chance=1.0)) == 1
