"""Where a stage starts: with weights that all processes agree on, or as its newest checkpoint records."""

import dataclasses

import chex
import numpy as np
import pytest

from tests import small_runs
from tireid_jax.errors import UserError
from tireid_jax.parallel import distributed
from tireid_jax.training import experiment, initialization, preflight, start
from tireid_jax.workdir.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """Returns an Experiment of stage 1."""
  folder = tmp_path_factory.mktemp("start")
  config = small_runs.configured(small_runs.make_project(folder / "project"))
  (checked,) = preflight.check(config, (1,), folder / "run")
  return experiment.build(config, checked, folder / "run")


def test_processes_that_read_different_weights_raise(built, monkeypatch):
  monkeypatch.setattr(distributed.multihost_utils, "process_allgather", lambda x: np.stack([x, x + 1]))
  with pytest.raises(UserError, match="the processes read different weights by the name .*clip"):
    start.first_start(built)


@pytest.fixture(scope="module")
def saved(built):
  """Returns the Start of the stage, whose state is saved as its first checkpoint."""
  first = start.first_start(built)
  recorded = start.checkpoint_metadata(built, first, step=0, seconds=3.5, score=40.0, best_score=61.0)
  with Checkpoints(built.folder) as checkpoints:
    checkpoints.save(first.state, recorded, 40.0)
  return first


def test_a_stage_continues_with_what_its_checkpoint_records(built, saved):
  with Checkpoints(built.folder) as checkpoints:
    resumed = start.resume(built, checkpoints)
  chex.assert_trees_all_equal(resumed.state, saved.state)
  assert (resumed.origin, resumed.frozen) == (saved.origin, saved.frozen)
  assert (resumed.first_step, resumed.seconds, resumed.best_score) == (0, 3.5, 61.0)


def test_weights_of_a_model_with_another_activation_are_rejected(built, saved):
  model = built.program.model
  other = model.clone(variant=dataclasses.replace(model.variant, activation="gelu"))
  with pytest.raises(UserError, match="is of another model: activation is quick_gelu in the checkpoint, gelu in"):
    initialization.initial_variables(
      other, ("checkpoint", str(built.folder)), mesh=built.mesh, key=built.program.key, fingerprint="f"
    )
