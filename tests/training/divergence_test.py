"""The state before a step that was not finite is found again from the last checkpoint."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax import errors
from tireid_jax.parallel import sharding
from tireid_jax.storage import locations
from tireid_jax.training import divergence
from tireid_jax.training.state import TrainState


def is_finite(variables):
  return bool(jnp.isfinite(variables["w"]))


def found_again(*, saved, last, bad_from, start=None, all_finite=is_finite, is_stopped=lambda: False):
  """Returns (state, steps that were taken) of a run whose weight counts steps, and is NaN after step `bad_from`."""
  taken = []

  def train_step(state, batch):
    taken.append(batch)
    step = state.step + 1
    return TrainState(step, {"w": jnp.where(step < bad_from, step, jnp.nan)}, None), {}

  state = divergence.found_again(
    lambda: TrainState(jnp.int32(saved), {"w": jnp.float32(saved if start is None else start)}, None), train_step,
    lambda step: step, all_finite, last, is_stopped,
  )  # fmt: skip
  return state, taken


def test_where_a_loss_tells_the_step_those_before_it_are_repeated():
  state, taken = found_again(saved=4, last=8, bad_from=8)
  assert (int(state.step), float(state.variables["w"])) == (7, 7.0)
  assert taken == [4, 5, 6]


@pytest.mark.parametrize("last", [7, 12])
def test_where_weights_were_not_finite_before_the_first_such_step_is_found(last):
  state, _ = found_again(saved=4, last=last, bad_from=6)
  assert (int(state.step), float(state.variables["w"])) == (5, 5.0)


def test_the_first_step_after_a_checkpoint_needs_none():
  state, taken = found_again(saved=4, last=5, bad_from=5)
  assert (int(state.step), taken) == (4, [])


@pytest.mark.parametrize("last", [5, 8])
def test_a_checkpoint_that_is_not_finite_itself_is_what_the_step_started_from(last):
  state, _ = found_again(saved=4, last=last, bad_from=0, start=jnp.nan)
  assert int(state.step) == 4


def test_weights_that_are_finite_when_the_steps_are_repeated_do_not_go_on_for_ever():
  answers = iter([False])  # at first, as on a GPU that computes other bits each time
  state, taken = found_again(saved=4, last=8, bad_from=100, all_finite=lambda _: next(answers, True))
  assert (int(state.step), len(taken)) == (7, 6)


def test_a_signal_ends_it():
  assert found_again(saved=0, last=8, bad_from=8, is_stopped=lambda: True)[0] is None


def test_a_message_names_the_step_the_values_and_some_of_the_examples():
  examples = [{"caption": 3 * row, "image": f"{row}.jpg"} for row in range(20)]
  message = divergence.describe(7, {"loss/total": np.inf, "loss/sdm": 1.5}, examples, "cuhk_pedes train")
  assert message == (
    "loss/total is inf at step 7 (loss/total inf, loss/sdm 1.5), whose batch is captions 0, 3, 6, 9, 12, 15, 18, 21, "
    "24, 27, 30, 33, 36, 39, 42, 45 and 4 more of cuhk_pedes train"
  )


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
  return tmp_path if request.param == "disk" else locations.to_path(f"{request.getfixturevalue('bucket').url}/run")


def test_a_dump_is_read_as_it_was_written_and_the_newest_stays(folder):
  mesh = sharding.make_mesh(1, 1, 1)

  def state(step):
    return TrainState(jnp.int32(step), {"params": {"w": jnp.arange(3.0) + step}, "prompts": {}}, {"m": jnp.zeros(2)})

  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.replicated(mesh)), state(0)
  )
  batch = sharding.put_batch(mesh, {"images": np.full((2, 4, 4, 3), 7, np.uint8), "person_id": np.int32([3, 4])})
  for step in (5, 9, 9):  # the last, of a run that was started again and came to the same
    dump = divergence.write(folder / "stage1", state(step), batch, {"loss": "nan"})
  assert divergence.read_metadata(dump) == {"loss": "nan"}
  found, found_batch = divergence.read(dump, mesh, shapes)
  chex.assert_trees_all_equal((found, found_batch), (state(9), batch))
  assert [path.name for path in (folder / "stage1" / "diverged").iterdir()] == ["9"]


@pytest.mark.parametrize(
  ("name", "error"),
  [("nowhere/diverged/3", "there is no folder .*nowhere/diverged/3; give a dump"), (".", "is no dump of a step")],
)
def test_what_is_no_dump_is_refused(tmp_path, name, error):
  with pytest.raises(ValueError, match=error):
    divergence.read_metadata(str(tmp_path / name))


def test_a_damaged_dump_is_named_in_one_line(tmp_path):
  state = TrainState(jnp.int32(5), {"params": {"w": jnp.zeros(3)}}, {"m": jnp.zeros(2)})
  mesh = sharding.make_mesh(1, 1, 1)
  dump = divergence.write(tmp_path, state, sharding.put_batch(mesh, {"person_id": np.int32([3, 4])}), {})
  damaged = f"{dump} is damaged: .*; run the command that wrote it again"
  (dump / "batch" / "_METADATA").unlink()
  with pytest.raises(errors.UserError, match=damaged):
    divergence.read(dump, mesh, state)
  (dump / "metadata" / "metadata").unlink()
  with pytest.raises(errors.UserError, match=damaged):
    divergence.read_metadata(dump)
