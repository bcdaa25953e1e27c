"""A short form of `make faults`: one run killed in three phases, one full disk, and tests of the tools themselves."""

import os
import shutil
import threading

import numpy as np
import pytest

from tests import small_disk
from tests.faults import equality, growth, kills, scenario, storage
from tests.faults.kills import Moment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return scenario.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def expected(run):
  scenario.succeed(*run.main(run.folder / "uninterrupted"))
  return run.folder / "uninterrupted"


def test_a_run_that_is_killed_several_times_has_bit_equal_results(run, expected, tmp_path):
  rng = np.random.default_rng(0)
  moments = [
    Moment("saving", 1, int(rng.integers(2, 9)), rng.uniform(0, 0.3)),
    Moment("between stages", 1, 0, rng.uniform(0, 2)),
    Moment("scoring", 2, scenario.STAGE_STEPS, 0),
  ]
  outcome = kills.Killer(tmp_path, run, expected).kill_run(moments, tmp_path)
  assert outcome.faults == [], outcome.landed
  assert "ended before" not in outcome.landed[:2]  # the scores of such a small split may be written before the kill


def edit(name, change):
  """Returns a function that changes a text file in a stage folder."""

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


def replace_item(item):
  """Returns a function that replaces an item of the best checkpoint by that of the last, a different one."""

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
  ("checkpoints", replace_item("variables"), "checkpoint 6, variables: /prompts"),
  ("checkpoints", replace_item("optimizer"), "checkpoint 6, optimizer: "),
  ("checkpoints", replace_item("metadata"), "checkpoint 6, metadata: step is 12, not 6"),
  ("checkpoints", lambda folder: shutil.rmtree(folder / "checkpoints/6"), "of the steps [8, 12], not [6, 8, 12]"),
  ("leftovers", lambda folder: (folder / ".result.json.17").touch(), ".result.json.17 was left behind"),
]


@pytest.mark.parametrize(("what", "change", "found"), CHANGES)
def test_all_differences_except_those_of_the_wall_clock_are_found(expected, tmp_path, what, change, found):
  folder = tmp_path / "stage1"
  shutil.copytree(expected / "stage1", folder)
  change(folder)
  differences = getattr(equality, f"compare_{what}")(folder, expected / "stage1")
  assert found in "\n".join(differences)
  assert bool(differences) == bool(found)


def case(name, command):
  (found,) = (case for case in storage.make_cases() if (case.name, case.command) == (name, command))
  return found


def test_a_save_that_does_not_fit_on_the_disk_loses_no_checkpoint(run, expected, tmp_path):
  """On a full disk, or with a limit on file sizes if this process may not mount a disk."""
  name = "disk full, 256 KiB left" if small_disk.can_mount() else "file size limit"
  outcome = storage.Storage(tmp_path, run, expected).inject(case(name, "resume"), "case")
  assert outcome.faults == []
  assert outcome.line.startswith("error: ")


def test_a_run_with_many_evaluations_and_saves_leaks_no_file_descriptors(run, tmp_path):
  epochs = 20
  steps = epochs * scenario.EPOCH_STEPS
  _, second, _, last = growth.quarters(growth.watch(run, tmp_path / "run", steps), steps)
  # One leaked descriptor per epoch adds about epochs / 2 from the second to the last quarter. The margin is for
  # quarters whose samples were all taken during saves, which open files.
  assert last.descriptors - second.descriptors < epochs // 4


def test_a_quarter_has_the_minimum_of_each_resource():
  samples = [growth.Sample(step, 1000 - step % 5, 7 + step // 25, 3) for step in range(100)]
  assert growth.quarters(samples, 100) == [growth.Sample(25 * i, 996, 7 + i, 3) for i in range(4)]


def test_a_sample_counts_file_descriptors_and_threads(tmp_path):
  def counts():
    found = growth.sample(os.getpid(), 0)
    return found.descriptors, found.threads

  before, is_over = counts(), threading.Event()
  thread = threading.Thread(target=is_over.wait)
  with open(tmp_path / "file", "w"):
    thread.start()
    assert counts() == (before[0] + 1, before[1] + 1)
  is_over.set()
  thread.join()
  assert counts()[0] == before[0]  # the system may still list the thread for a moment


def test_kills_cover_every_phase_and_are_determined_by_the_seed():
  commands = kills.sample_commands(20, seed=3)
  moments = [moment for command in commands for moment in command]
  assert len(moments) == 20
  assert len({moment.phase for moment in moments}) == 9
  assert commands == kills.sample_commands(20, seed=3)
  assert commands != kills.sample_commands(20, seed=4)
