"""A field is declared once, with its default, description and allowed values; everything else is derived from these."""

import dataclasses

import pytest

from tireid_jax import fields
from tireid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Inner:
  ratio: float = fields.field(0.5, "how much", fields.FRACTION)


@dataclasses.dataclass(frozen=True)
class Outer:
  kind: str = fields.field("red", "which color", fields.one_of("red", "green"))
  inner: dict = fields.section(Inner)


def test_defaults_include_all_sections_and_are_a_new_copy():
  assert fields.defaults(Outer) == {"kind": "red", "inner": {"ratio": 0.5}}
  fields.defaults(Outer)["inner"]["ratio"] = 1.0
  assert fields.defaults(Outer)["inner"] == {"ratio": 0.5}


def test_descriptions_name_fields_with_their_sections():
  assert fields.describe(Outer) == [("kind", "red", "which color"), ("inner.ratio", 0.5, "how much")]


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      {"kind": "greed", "inner": {"ratio": 0.5}},
      "a.kind is 'greed' (did you mean 'green'?); it must be one of red",
    ),
    ({"kind": "red", "inner": {"ratio": 1.5}}, "a.inner.ratio is 1.5; it must be a fraction from 0 to 1"),
    ({"kind": "red", "inner": {"ratio": float("nan")}}, "a.inner.ratio is nan; it must be a fraction from 0 to 1"),
    ({"kind": "red", "inner": {"ratio": "much"}}, "a.inner.ratio is 'much'; it must be a fraction from 0 to 1"),
    ({"kind": "red", "inner": {}}, "a.inner has other fields than this version knows (ratio); train it again"),
    ({"kind": "red", "inner": {"ratio": 0, "b": 1}}, "a.inner has other fields than this version knows (b); train it"),
    ({"kind": "red"}, "a has other fields than this version knows (inner); train it again"),
  ],
)
def test_an_invalid_value_raises_one_line_that_names_the_field(values, message):
  with pytest.raises(UserError) as error:
    fields.check(Outer, values, "a.")
  assert str(error.value).startswith(message)


def test_the_top_level_may_have_additional_sections_of_a_data_set():
  fields.check(Outer, {"kind": "green", "inner": {"ratio": 1}, "toy": {}})
  with pytest.raises(UserError, match=r"^the config has other fields than this version knows \(kind\)"):
    fields.check(Outer, {"inner": {"ratio": 1}, "toy": {}})
