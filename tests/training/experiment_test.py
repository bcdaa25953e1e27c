"""What an experiment is built from, and what it rejects or warns of."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import small_runs
from tests.training import compiled
from tireid_jax.errors import UserError
from tireid_jax.parallel import distributed
from tireid_jax.training import experiment, preflight


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  return small_runs.make_project(tmp_path_factory.mktemp("project"))


def build(project, folder, **changes):
  config = small_runs.configured(project, **changes)
  (checked,) = preflight.check(config, (1,), folder)
  return experiment.build(config, checked, folder)


def test_processes_with_different_data_raise(project, tmp_path, monkeypatch):
  monkeypatch.setattr(distributed.multihost_utils, "process_allgather", lambda x: np.stack([x, x + 1]))
  with pytest.raises(UserError, match="the processes have different data"):
    build(project, tmp_path)


@pytest.mark.parametrize("select_on", ["val", "test"])
def test_selection_on_the_test_split_is_warned_of(project, tmp_path, capsys, select_on):
  built = build(project, tmp_path, select_on=select_on)
  assert built.selection_split.split == select_on
  assert ("warning: select_on=test" in capsys.readouterr().err) == (select_on == "test")


def test_the_encoders_are_compiled_with_the_options_of_the_program(project, tmp_path):
  built = build(project, tmp_path, deterministic=True)
  tokens = jnp.ones((built.config.evaluation.batch_size, 5), jnp.int32)
  assert compiled.is_deterministic(built.encoders._text, built.program.shapes.variables, tokens)
