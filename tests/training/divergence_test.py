"""The state before a step that was not finite is found again from the last checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.training import divergence
from tireid_jax.training.state import TrainState


def is_finite(variables):
  return bool(jnp.isfinite(variables["w"]))


def find_again(*, saved, last, bad_from, start=None, all_finite=is_finite, is_stopped=lambda: False):
  """Returns (state, steps that were taken) of a run whose weight counts steps, and is NaN after step `bad_from`."""
  taken = []

  def train_step(state, batch):
    taken.append(batch)
    step = state.step + 1
    return TrainState(step, {"w": jnp.where(step < bad_from, step, jnp.nan)}, None), {}

  state = divergence.find_again(
    lambda: TrainState(jnp.int32(saved), {"w": jnp.float32(saved if start is None else start)}, None), train_step,
    lambda step: step, all_finite, last, is_stopped,
  )  # fmt: skip
  return state, taken


def test_where_a_loss_tells_the_step_those_before_it_are_repeated():
  state, taken = find_again(saved=4, last=8, bad_from=8)
  assert (int(state.step), float(state.variables["w"])) == (7, 7.0)
  assert taken == [4, 5, 6]


@pytest.mark.parametrize("last", [7, 12])
def test_where_weights_were_not_finite_before_the_first_such_step_is_found(last):
  state, _ = find_again(saved=4, last=last, bad_from=6)
  assert (int(state.step), float(state.variables["w"])) == (5, 5.0)


def test_the_first_step_after_a_checkpoint_needs_none():
  state, taken = find_again(saved=4, last=5, bad_from=5)
  assert (int(state.step), taken) == (4, [])


@pytest.mark.parametrize("last", [5, 8])
def test_a_checkpoint_that_is_not_finite_itself_is_what_the_step_started_from(last):
  state, _ = find_again(saved=4, last=last, bad_from=0, start=jnp.nan)
  assert int(state.step) == 4


def test_weights_that_are_finite_when_the_steps_are_repeated_do_not_go_on_for_ever():
  answers = iter([False])  # at first, as on a GPU that computes other bits each time
  state, taken = find_again(saved=4, last=8, bad_from=100, all_finite=lambda _: next(answers, True))
  assert (int(state.step), len(taken)) == (7, 6)


def test_a_signal_ends_it():
  assert find_again(saved=0, last=8, bad_from=8, is_stopped=lambda: True)[0] is None


def test_a_message_names_the_step_the_values_and_some_of_the_examples():
  examples = [{"caption": 3 * row, "image": f"{row}.jpg"} for row in range(20)]
  message = divergence.describe(7, {"loss/total": np.inf, "loss/sdm": 1.5}, examples, "cuhk_pedes train")
  assert message == (
    "loss/total is inf at step 7 (loss/total inf, loss/sdm 1.5), whose batch is captions 0, 3, 6, 9, 12, 15, 18, 21, "
    "24, 27, 30, 33, 36, 39, 42, 45 and 4 more of cuhk_pedes train"
  )
