"""The state before a non-finite step is recomputed from the last checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.training import divergence
from tireid_jax.training.state import TrainState


def is_finite(variables):
  return bool(jnp.isfinite(variables["w"]))


def recompute(*, saved, last, bad_from, start=None, all_finite=is_finite, is_stopped=lambda: False):
  """Returns (state, repeated steps) of a run whose weight equals its step, and is NaN from step `bad_from` on."""
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


def test_steps_before_a_non_finite_loss_are_repeated():
  state, taken = recompute(saved=4, last=8, bad_from=8)
  assert (int(state.step), float(state.variables["w"])) == (7, 7.0)
  assert taken == [4, 5, 6]


@pytest.mark.parametrize("last", [7, 12])
def test_weights_that_became_non_finite_earlier_are_traced_to_the_step_that_caused_it(last):
  state, _ = recompute(saved=4, last=last, bad_from=6)
  assert (int(state.step), float(state.variables["w"])) == (5, 5.0)


def test_a_non_finite_first_step_after_a_checkpoint_needs_no_repeated_steps():
  state, taken = recompute(saved=4, last=5, bad_from=5)
  assert (int(state.step), taken) == (4, [])


@pytest.mark.parametrize("last", [5, 8])
def test_a_checkpoint_that_is_itself_non_finite_is_returned(last):
  state, _ = recompute(saved=4, last=last, bad_from=0, start=jnp.nan)
  assert int(state.step) == 4


def test_the_search_ends_even_if_the_repeated_steps_are_finite():
  answers = iter([False])  # then True, as on a GPU whose results vary from run to run
  state, taken = recompute(saved=4, last=8, bad_from=100, all_finite=lambda _: next(answers, True))
  assert (int(state.step), len(taken)) == (7, 6)


def test_a_signal_ends_the_search():
  assert recompute(saved=0, last=8, bad_from=8, is_stopped=lambda: True)[0] is None


def test_the_message_names_the_step_its_values_and_some_of_its_examples():
  examples = [{"caption": 3 * index, "image": f"{index}.jpg"} for index in range(20)]
  message = divergence.describe(7, {"loss/total": np.inf, "loss/sdm": 1.5}, examples, "cuhk_pedes train")
  assert message == (
    "loss/total is inf at step 7 (loss/total inf, loss/sdm 1.5), whose batch is captions 0, 3, 6, 9, 12, 15, 18, 21, "
    "24, 27, 30, 33, 36, 39, 42, 45 and 4 more of cuhk_pedes train"
  )
