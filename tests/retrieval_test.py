"""What is said of a split's results."""

import types

import numpy as np
import pytest

from tireid_jax import retrieval


@pytest.mark.parametrize(
  ("count", "said"),
  [
    (1, "the test split of mine has 1 identity: R@1 is about 100 by chance alone, and its standard error is up to 50"),
    (
      25,
      "the test split of mine has 25 identities: R@1 is about 4 by chance alone, and its standard error is up to 10",
    ),
    (49, "has 49 identities"),
    (50, ""),
  ],
)
def test_results_of_few_identities_come_with_a_warning(capsys, count, said):
  person_id = np.arange(count).repeat(3)
  split = types.SimpleNamespace(name="mine", split="test", person_id=person_id, caption_image=np.arange(len(person_id)))
  retrieval.warn_if_small(split)
  printed = "".join(capsys.readouterr())
  assert said in printed if said else printed == ""
