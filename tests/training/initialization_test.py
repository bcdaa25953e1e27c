"""Which variables a stage starts with."""

import chex
import jax
import numpy as np
import pytest

from tests.models.trees import SMALL, write_hf_clip
from tireid_jax.errors import UserError
from tireid_jax.models.clip import CLIP
from tireid_jax.parallel import sharding
from tireid_jax.training import initialization


def variables(value, with_head=True):
  head = {"id_head": {"kernel": np.full((2, 3), value), "bias": np.full(3, value)}} if with_head else {}
  return {"params": {"encoder": {"kernel": np.full(4, value)}, **head}, "prompts": {}}


@pytest.mark.parametrize(
  ("keep_head", "new_head", "expected"), [(True, False, 1.0), (False, True, 0.0), (False, False, 0.0)]
)
def test_a_head_is_reused_only_if_it_may_be_and_the_log_says_why_not(keep_head, new_head, expected, capsys):
  loaded, fresh = variables(1.0), {"prompts": {}, "id_head": variables(0.0)["params"]["id_head"]}
  adopted = initialization._adopt(variables(0.0), fresh, loaded, "W/stage1", keep_head, new_head)
  assert adopted["params"]["encoder"]["kernel"][0] == 1.0
  assert adopted["params"]["id_head"]["bias"][0] == expected
  reason = "is replaced (new_head)" if new_head else "was trained on other identities"
  assert (reason in capsys.readouterr().err) == (not keep_head)


@pytest.mark.parametrize(
  ("loaded", "fresh", "expected", "line"),
  [(True, False, None, "are ignored"), (False, True, 0.0, "are randomly initialised"), (True, True, 1.0, "")],
)
def test_prompts_are_those_loaded_if_the_stage_uses_any_and_random_if_there_are_none(
  loaded, fresh, expected, line, capsys
):
  ours, theirs = variables(0.0, with_head=False), variables(1.0, with_head=False)
  for tree, has_prompts, value in ((ours, fresh, 0.0), (theirs, loaded, 1.0)):
    tree["prompts"] = {"tokens": np.full(2, value)} if has_prompts else {}
  adopted = initialization._adopt(ours, {"prompts": ours["prompts"], "id_head": None}, theirs, "W/stage1", True, False)
  assert adopted["prompts"].get("tokens", [None])[0] == expected
  printed = capsys.readouterr().err
  assert line in printed
  assert bool(line) == bool(printed)


def test_variables_of_another_shape_and_missing_ones_raise():
  wanted, loaded = variables(0.0, with_head=False), variables(1.0, with_head=False)
  loaded["params"]["encoder"]["kernel"] = np.ones(5)
  wanted["params"]["encoder"]["bias"] = np.ones(4)
  with pytest.raises(UserError) as error:
    initialization._adopt(wanted, {"prompts": {}, "id_head": None}, loaded, "W/stage1", True, False)
  assert str(error.value) == (
    "the variables in W/stage1 do not fit this model: params/encoder/bias is missing in the checkpoint, (4,) in this "
    "model; params/encoder/kernel is (5,) in the checkpoint, (4,) in this model"
  )


def initial(source, **keywords):
  """Returns (variables with an identity head of 3 classes, the shardings that they should have)."""
  model, mesh = CLIP(SMALL, (8, 8)), sharding.make_mesh(1, 1, 1)
  variables, _ = initialization.initial_variables(
    model, source, mesh=mesh, key=jax.random.key(0), num_identities=3, **keywords
  )
  return variables, sharding.tree_shardings(mesh, variables)


def test_variables_are_placed_on_the_mesh(tmp_path):
  write_hf_clip(tmp_path, SMALL)
  for source in (None, ("pretrained", str(tmp_path))):
    variables, expected = initial(source)
    assert jax.tree.map(lambda leaf: leaf.sharding, variables) == expected


def test_of_a_file_with_two_clips_that_of_the_prefix_is_read(tmp_path):
  tensors = write_hf_clip(tmp_path / "one", SMALL, seed=1)
  write_hf_clip(tmp_path / "both", SMALL, extra={f"ema.{name}": tensor for name, tensor in tensors.items()})
  expected, _ = initial(("pretrained", str(tmp_path / "one")))
  found, _ = initial(("pretrained", str(tmp_path / "both")), prefix="ema.")
  chex.assert_trees_all_equal(found, expected)
