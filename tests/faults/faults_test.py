"""The short form of `make faults`: a run that is killed again and again ends as one that is not."""

import shutil

import numpy as np
import pytest

from tests.faults import equality, kills, scenario
from tests.faults.kills import Moment


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
  folder = tmp_path_factory.mktemp("faults")
  return kills.Killer(folder, scenario.make(folder / "made"))


def test_a_run_that_is_killed_in_each_phase_ends_equal(killer, tmp_path):
  rng = np.random.default_rng()
  moments = [
    Moment("stepping", 1, int(rng.integers(2, 6)), 0),
    Moment("saving", 1, 8, rng.uniform(0, 0.3)),
    Moment("between stages", 1, 0, rng.uniform(0, 2)),
    Moment("scoring", 2, scenario.STAGE_STEPS, rng.uniform(0, 0.5)),
  ]
  landed, faults = killer.kill_in_turn(moments, tmp_path, stage="all")
  assert faults == [], landed
  assert "ended before" not in landed


def edit(name, change):
  """Returns a function that changes a text file of a stage."""

  def apply(stage_folder):
    path = stage_folder / name
    path.write_text(change(path.read_text()))

  return apply


def edit_ranks(stage_folder):
  path = stage_folder / "ranks_test.npz"
  arrays = dict(np.load(path))
  name = next(name for name in sorted(arrays) if arrays[name].ndim)
  arrays[name][-1] += 1
  np.savez(path, **arrays)


def exchange(item):
  """Returns a function that puts the last checkpoint's item in place of that of the best, which is another."""

  def apply(stage_folder):
    best, *_, last = sorted((stage_folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(best / item)
    shutil.copytree(last / item, best / item)

  return apply


CHANGES = [
  ("results", edit("result.json", lambda text: text.replace('"seconds": ', '"seconds": 9')), ""),
  ("results", edit("result.json", lambda text: text.replace('"seed": 0', '"seed": 1')), "seed is 1, not 0"),
  ("logs", edit("metrics.jsonl", lambda text: text[text.index("\n") + 1 :]), "has lines of the steps"),
  ("logs", edit("metrics.jsonl", lambda text: text[: text.index("\n") + 1] + text), "has lines of the steps"),
  ("logs", edit("metrics.jsonl", lambda text: text.replace('"loss/itc": ', '"loss/itc": 1')), "step 3: loss/itc is"),
  ("logs", edit("metrics.jsonl", lambda text: text.replace('_second": ', '_second": 1')), ""),
  ("events", lambda folder: next((folder / "tensorboard").iterdir()).write_bytes(b""), "TensorBoard shows 0 values"),
  ("ranks", edit_ranks, "differs"),
  ("checkpoints", exchange("variables"), "checkpoint 6, variables: /prompts"),
  ("checkpoints", exchange("optimizer"), "checkpoint 6, optimizer: "),
  ("checkpoints", exchange("metadata"), "checkpoint 6, metadata: step is 12, not 6"),
  ("checkpoints", lambda folder: shutil.rmtree(folder / "checkpoints/6"), "of the steps [8, 12], not [6, 8, 12]"),
  ("leftovers", lambda folder: (folder / ".result.json.17").touch(), ".result.json.17 was left behind"),
]


@pytest.mark.parametrize(("what", "change", "found"), CHANGES)
def test_what_differs_is_found_but_for_the_wall_clock(killer, tmp_path, what, change, found):
  folder = tmp_path / "stage1"
  shutil.copytree(killer.expected / "stage1", folder)
  change(folder)
  differences = getattr(equality, f"compare_{what}")(folder, killer.expected / "stage1")
  assert found in "\n".join(differences)
  assert bool(differences) == bool(found)


def test_moments_are_of_every_phase_and_the_same_for_a_seed():
  moments = kills.draw_moments(20, seed=3)
  assert len({moment.phase for moment in moments}) == 9
  assert moments == kills.draw_moments(20, seed=3)
  assert moments != kills.draw_moments(20, seed=4)
