"""Runs the commands of the README for each real layout: prepare, both stages and evaluate."""

import csv
import json
import os
import subprocess

import numpy as np
import pytest

from tests import commands, forked
from tests.commands import ROOT, SMALL, command, environment
from tests.data.trees import make_tree, read_entries
from tests.forked import run, succeed
from tests.models.trees import write_hf_clip
from tireid_jax.models.variants import VARIANTS

pytestmark = pytest.mark.slow

LAYOUTS = {"cuhk": "cuhk_pedes", "icfg": "icfg_pedes", "rstp": "rstp_reid"}
METRICS = ["R@1", "R@5", "R@10", "mAP", "mINP"]
FROZEN = {
  1: ["params/image_encoder", "params/logit_scale", "params/text_encoder"],
  2: ["params/logit_scale", "prompts/image_encoder", "prompts/text_encoder"],
}


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clip")
  write_hf_clip(folder, VARIANTS["tiny"], image_size=48)
  return folder


def prepare(tmp_path, config, clip_folder, succeed=succeed):
  """Prepares small data of a layout and returns the flags for the other commands."""
  make_tree(tmp_path / "raw", LAYOUTS[config])
  data_dir, clip_folder = (os.path.relpath(folder, ROOT) for folder in (tmp_path / "data", clip_folder))
  flags = (
    f"--config=configs/{config}.py", *SMALL, f"--config.data_dir={data_dir}", f"--config.pretrained={clip_folder}",
  )  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={tmp_path}/raw")
  return flags


@pytest.mark.parametrize("config", LAYOUTS)
def test_each_layout_is_prepared_trained_in_both_stages_and_evaluated(tmp_path, clip_folder, config):
  succeed = (commands if config == "rstp" else forked).succeed  # one layout in separate processes is enough
  flags = prepare(tmp_path, config, clip_folder, succeed)
  workdir = tmp_path / "run"
  succeed("main", *flags, "--stage=1", f"--workdir={workdir}")
  succeed("main", *flags, "--stage=2", f"--workdir={workdir}")
  for stage in (1, 2):
    result = json.loads((workdir / f"stage{stage}/result.json").read_text())
    assert (result["stage"], result["split"], list(result["t2i"]), list(result["i2t"])) == (
      stage,
      "test",
      METRICS,
      METRICS,
    )
    assert (result["selection"] is None) == (config == "icfg")  # which has no validation split
    assert result["frozen"]["start"] == result["frozen"]["end"]
    assert list(result["frozen"]["end"]) == FROZEN[stage]
  stage_1 = json.loads((workdir / "stage1/result.json").read_text())
  assert (stage_1["origin"]["kind"], stage_1["origin"]["name"]) == ("pretrained", str(clip_folder))
  assert result["origin"] == {
    "kind": "checkpoint", "folder": "stage1", "stage": 1, "step": stage_1["step"], "origin": stage_1["origin"],
    "digest": result["origin"]["digest"],
  }  # fmt: skip
  printed = succeed("evaluate", f"--workdir={workdir}", "--stage=2", f"--dump={workdir}/dump.npz")
  assert f"{result['t2i']['R@1']:.2f}" in printed
  dump = np.load(workdir / "dump.npz")
  assert dump["image_embeddings"].shape == (len(dump["image_ids"]), 64)
  assert dump["text_embeddings"].shape == (len(dump["text_ids"]), 64)
  assert (result["num_gallery"], result["num_distractors"]) == (len(dump["image_ids"]), 0)
  assert 100 * np.mean(dump["t2i_first_rank"] == 1) == pytest.approx(result["t2i"]["R@1"])
  stored = json.loads((workdir / "config.json").read_text())
  assert (stored["stage2"]["batch_size"], stored["data_dir"]) == (8, f"{tmp_path}/data")
  # Relative paths are stored as absolute ones, so that the command works in another folder.
  done = subprocess.run(
    command("evaluate", "--workdir=run", "--stage=pretrained", "--split=train"), cwd=tmp_path,
    env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True,
  )  # fmt: skip
  assert "text to image" in done.stdout, done.stderr[-3000:]


def test_seeds_of_an_ablation_are_trained_compared_and_evaluated_on_another_data_set(tmp_path, clip_folder):
  flags = prepare(tmp_path, "rstp", clip_folder)
  other = prepare(tmp_path / "other", "cuhk", clip_folder)
  ablation = flags[0] + ":no_stage1"
  printed = succeed("main", ablation, *flags[1:], "--stage=all", f"--workdir={tmp_path}/seeds", "--seeds=0,1")
  assert "±" in printed
  for seed in (0, 1):
    result = json.loads((tmp_path / f"seeds/seed{seed}/stage2/result.json").read_text())
    assert (result["seed"], result["ablation"]) == (seed, "no_stage1")
    assert not (tmp_path / f"seeds/seed{seed}/stage1").exists()
  # Characters that the terminal's encoding lacks are printed as escape sequences.
  again = run(
    "main", ablation, *flags[1:], "--stage=all", f"--workdir={tmp_path}/seeds", "--seeds=0,1", PYTHONIOENCODING="ascii"
  )
  assert (again.returncode, "\\xb1" in again.stdout) == (0, True)
  assert "stage 2 is finished" in again.stderr
  printed = succeed(
    "evaluate", f"--workdir={tmp_path}/seeds/seed0", "--stage=2", f"--data={other[0].split('=')[1]}",
    f"--data.data_dir={tmp_path}/other/data",
  )  # fmt: skip
  assert printed.startswith("cuhk_pedes test")
  printed = succeed("compare", f"{tmp_path}/seeds/seed0", f"{tmp_path}/seeds/seed1", "--num_resamples=200")
  assert "mINP" in printed


def test_a_custom_csv_data_set_is_trained_in_both_stages(tmp_path, clip_folder):
  root = make_tree(tmp_path / "raw", "rstp_reid")
  with (root / "mine.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["image", "id", "caption_1", "caption_2", "camera"])
    for entry in read_entries(root, "rstp_reid"):
      table.writerow([entry["img_path"], f"person {entry['id']}", *entry["captions"], entry["img_path"].split("_")[1]])
  flags = (
    "--config=configs/custom.py", *SMALL, f"--config.data_dir={tmp_path}/data", f"--config.pretrained={clip_folder}",
    "--config.custom.annotations=mine.csv", "--config.custom.images=imgs", "--config.custom.val_share=0.25",
    "--config.custom.test_share=0.25",
  )  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={root}")
  succeed("main", *flags, "--stage=all", f"--workdir={tmp_path}/run")
  result = json.loads((tmp_path / "run/stage2/result.json").read_text())
  assert (result["dataset"], result["split"], list(result["t2i"])) == ("custom", "test", METRICS)
  assert result["selection"] is not None
