import pytest

from tireid_jax.errors import did_you_mean


@pytest.mark.parametrize("names", [["val", "test"], {"val": 0, "test": 1}])
def test_the_closest_name_is_suggested(names):
  assert did_you_mean("tst", names) == " (did you mean 'test'?)"


def test_a_suggestion_may_be_shown_in_another_form():
  assert did_you_mean("cuk", ["cuhk"], shown_as={"cuhk": "configs/cuhk.py"}) == " (did you mean 'configs/cuhk.py'?)"


def test_nothing_is_suggested_if_no_name_is_close():
  assert did_you_mean("elephant", ["val", "test"]) == ""
