"""Reading a trace: the programs from the first step on, and the gaps between those of the last epoch."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import overlap
from benchmarks.overlap import EXECUTE, WAIT

MS = 1e6


def run_of(*lengths, gap=1.0):
  """Returns consecutive programs with these durations and gaps in ms, in the form of `spans`."""
  ends = np.cumsum(np.array(lengths) + gap)
  return np.stack([ends - lengths, ends], axis=1) * MS


def test_only_programs_from_the_first_step_on_are_counted(tmp_path):
  def train_step(x):
    return jnp.stack([jnp.sin(x @ (x + i)) for i in range(20)])  # large enough to run in several threads

  before, train_step = jax.jit(lambda x: x @ x), jax.jit(train_step)
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


EVENTS = {
  "work of other threads that ends later": ([(EXECUTE, 0, 1), (WAIT, 1.1, 30)], [(0, 30)]),
  "work of the starting thread only": ([(EXECUTE, 0, 30), (WAIT, 30.1, 30.1)], [(0, 30.1)]),
  "parts of a loop": ([(EXECUTE, 0, 30), (EXECUTE, 3, 5), (EXECUTE, 6, 8), (WAIT, 31, 32)], [(0, 32)]),
  "two programs": ([(EXECUTE, 0, 30), (WAIT, 30, 31), (EXECUTE, 32, 40), (WAIT, 41, 41)], [(0, 31), (32, 41)]),
  "a small program after another": ([(EXECUTE, 0, 30), (WAIT, 30, 31), (WAIT, 45, 45)], [(0, 31), (45, 45)]),
  "other events": ([("copy", 0, 9), (EXECUTE, 2, 3), (WAIT, 3, 8), ("copy", 5, 20)], [(2, 8)]),
}


@pytest.mark.parametrize(("events", "expected"), EVENTS.values(), ids=EVENTS)
def test_a_program_ends_with_its_last_event(events, expected):
  events = [SimpleNamespace(name=name, start_ns=start, duration_ns=end - start) for name, start, end in events]
  assert overlap.programs_of(events) == [pytest.approx(program) for program in expected]


@pytest.mark.parametrize("scoring", [(), (25, 40), (8,)])
def test_only_steps_of_the_last_epoch_are_counted(scoring):
  metrics = overlap.last_epoch(run_of(*[30] * 6, 5, 20, 20, *scoring), num_steps=8)
  assert metrics == {
    "steps": 2, "step_ms": 20.5, "idle_share": pytest.approx(1 / 41, abs=1e-4), "longest_gap_ms": 1, "median_gap_ms": 1,
  }  # fmt: skip


def test_a_save_between_steps_is_counted_neither_as_a_step_nor_as_idle_time():
  metrics = overlap.last_epoch(run_of(*[20] * 10, 4, *[20] * 2), num_steps=12)
  assert metrics == {
    "steps": 3, "step_ms": 22.33, "idle_share": pytest.approx(3 / 67, abs=1e-4), "longest_gap_ms": 6,
    "median_gap_ms": 3.5,
  }  # fmt: skip
