"""What is read off a trace: programs from the first step on, and the time between those of the last epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import overlap

MS = 1e6


def run_of(*lengths, gap=1.0):
  """Returns programs of these lengths one after another, all in ms, as `spans` would."""
  ends = np.cumsum(np.array(lengths) + gap)
  return np.stack([ends - lengths, ends], axis=1) * MS


def test_programs_count_from_the_first_step_on(tmp_path):
  def train_step(x):
    return x @ x

  before, train_step = jax.jit(lambda x: x @ x.T), jax.jit(train_step)
  x = jnp.ones((256, 256))
  with jax.profiler.trace(tmp_path):
    for _ in range(3):
      before(x).block_until_ready()
    for _ in range(4):
      train_step(x).block_until_ready()
  found = overlap.spans(tmp_path)
  assert found.shape == (4, 2)
  assert (found[:, 1] > found[:, 0]).all()
  assert (found[1:, 0] >= found[:-1, 1]).all()


@pytest.mark.parametrize("scoring", [(), (25, 40), (8,)])
def test_only_the_last_epochs_steps_count(scoring):
  figures = overlap.last_epoch(run_of(*[30] * 6, 5, 20, 20, *scoring), num_steps=8)
  assert figures == {
    "steps": 2, "step_ms": 20.5, "idle_share": pytest.approx(1 / 41, abs=1e-4), "longest_gap_ms": 1, "median_gap_ms": 1,
  }  # fmt: skip


def test_a_save_between_steps_is_no_step_and_no_idling():
  figures = overlap.last_epoch(run_of(*[20] * 10, 4, *[20] * 2), num_steps=12)
  assert figures == {
    "steps": 3, "step_ms": 22.33, "idle_share": pytest.approx(3 / 67, abs=1e-4), "longest_gap_ms": 6,
    "median_gap_ms": 3.5,
  }  # fmt: skip
