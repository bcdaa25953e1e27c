"""Which identity head a stage starts with."""

import numpy as np
import pytest

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
