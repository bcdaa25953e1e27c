"""A run may continue by another schedule until its learning rate has begun to fall."""

import types

import pytest

from configs import toy
from tireid_jax.training import extension, stages
from tireid_jax.workdir import checkpoint, layout

FREE = ("stage0/epochs", "stage0/stable_epochs")
# With a warm-up of 1 epoch of 10 steps.
SAVED = {"epochs": 5, "stable_epochs": 2.0}


def free_fields(monkeypatch, step, saved, result=None, **requested):
  """Returns the free fields of a run whose newest checkpoint is of `step`; None for no checkpoint."""
  config = toy.get_config()
  config.stage0.update(warmup_epochs=1.0, **requested)
  monkeypatch.setattr(checkpoint, "best_step", lambda folder: step)
  metadata = {"step": step, "config": {"stage0": saved}}
  monkeypatch.setattr(checkpoint, "newest_readable_metadata", lambda folder: metadata)
  monkeypatch.setattr(layout, "read_result", lambda folder, number: result)
  data = types.SimpleNamespace(steps_per_epoch=lambda config, stage: 10)
  return extension.free_fields(config, stages.from_config(config, 0), "run", data)


@pytest.mark.parametrize(
  ("step", "requested", "free"),
  [
    (30, {"epochs": 9, "stable_epochs": 6.0}, FREE),  # the peak ends at step 30
    (31, {"epochs": 9, "stable_epochs": 6.0}, ()),
    (20, {"epochs": 3, "stable_epochs": 1.0}, FREE),  # shorter, and not too late for it
    (21, {"epochs": 3, "stable_epochs": 1.0}, ()),
    (19, {"epochs": 2, "stable_epochs": 1.0}, FREE),
    (20, {"epochs": 2, "stable_epochs": 1.0}, ()),  # no step is left, so nothing would be evaluated
    (25, {"epochs": 2, "stable_epochs": 3.0}, ()),
    (20, SAVED, ()),  # nothing differs
    (None, {"epochs": 9, "stable_epochs": 6.0}, ()),  # no checkpoint: the stage starts anew
  ],
)
def test_the_length_is_free_up_to_the_end_of_both_peaks(monkeypatch, step, requested, free):
  assert free_fields(monkeypatch, step, SAVED, **requested) == free


def test_a_finished_stage_and_one_of_a_version_without_a_peak_keep_their_length(monkeypatch):
  assert free_fields(monkeypatch, 20, SAVED, result={}, epochs=9, stable_epochs=6.0) == ()
  assert free_fields(monkeypatch, 20, {"epochs": 5}, epochs=9, stable_epochs=6.0) == ()
