"""Declares config fields: name, type, default, description and allowed values, all in one place.

A section of the config is a dataclass whose fields are made by `field` or `section`. From that one declaration follow
the default config, the checks, the reference in docs/config.md and the value that the code works with.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tireid_jax.errors import UserError, did_you_mean

# value -> what is wrong with it, as "; it must be above 0"; "" for an allowed value.
Rule = Callable[[Any], str]


def field(default: Any, description: str, rule: Rule | None = None) -> Any:
  """Returns a dataclass field that has a description and, if given, a rule for its values."""
  return dataclasses.field(default=default, metadata={"description": description, "rule": rule})


def section(declaration: type) -> Any:
  """Returns a dataclass field that holds another section, as a dict."""
  return dataclasses.field(default_factory=lambda: defaults(declaration), metadata={"section": declaration})


def defaults(declaration: type) -> dict[str, Any]:
  """Returns {field: default} of a section, with a dict for each section within it."""
  return {
    declared.name: declared.default if declared.default_factory is dataclasses.MISSING else declared.default_factory()
    for declared in _fields(declaration)
  }


def check(declaration: type, values: Mapping[str, Any], prefix: str = "") -> None:
  """Checks the values of a section, and of all sections within it.

  Args:
    declaration: dataclass of the section.
    values: {field: value}.
    prefix: of the field names in messages, as "stage1.augment."; "" at the top level, which may have more sections.

  Raises:
    UserError: for the first field whose value is not allowed, that is missing, or that is unknown.
  """
  check_names(declaration, values, prefix.removesuffix("."))
  for one in _fields(declaration):
    name = one.name
    if "section" in one.metadata:
      check(one.metadata["section"], values[name], f"{prefix}{name}.")
    elif one.metadata.get("rule") and (problem := one.metadata["rule"](values[name])):
      raise UserError(f"{prefix}{name} is {values[name]!r}{problem}")


def check_names(declaration: type, values: Mapping[str, Any], name: str) -> None:
  """Raises UserError if a section lacks a field, or has one that is not declared, as in a config of another version.

  Args:
    declaration: dataclass of the section.
    values: {field: value}.
    name: of the section, for the message; "" for the top level, which may have more sections.
  """
  declared, given = {one.name for one in _fields(declaration)}, set(values)
  if unexpected := sorted(declared ^ given if name else declared - given):
    raise UserError(
      f"{name or 'the config'} has other fields than this version knows ({', '.join(unexpected)}); train it again"
    )


def describe(declaration: type, prefix: str = "") -> list[tuple[str, Any, str]]:
  """Returns (field, default, description) of every field of a section and of the sections within it."""
  found: list[tuple[str, Any, str]] = []
  for one in _fields(declaration):
    if "section" in one.metadata:
      found += describe(one.metadata["section"], f"{prefix}{one.name}.")
    elif "description" in one.metadata:
      found.append((f"{prefix}{one.name}", defaults(declaration)[one.name], one.metadata["description"]))
  return found


def _fields(declaration: Any) -> tuple[dataclasses.Field, ...]:
  return dataclasses.fields(declaration)


def one_of(*allowed: str) -> Rule:
  """Returns the rule of a choice; its message suggests the nearest allowed value."""

  def rule(value):
    return "" if value in allowed else f"{did_you_mean(str(value), allowed)}; it must be one of {', '.join(allowed)}"

  return rule


def must(be: str, allows: Callable[[Any], bool]) -> Rule:
  """Returns a rule from a predicate; a value of a type that the predicate cannot compare is not allowed.

  Args:
    be: what the value must be, for the message, as "above 0".
    allows: value -> whether it is allowed.
  """

  def rule(value):
    try:
      return "" if allows(value) else f"; it must be {be}"
    except TypeError:
      return f"; it must be {be}"

  return rule


def at_least(bound: float) -> Rule:
  """Returns the rule of a number that has a lower bound."""
  return must(f"at least {bound}", lambda value: value >= bound)


# JAX takes 32 bits of a seed, so larger ones would repeat the random numbers of others.
MAX_SEED = 2**32 - 1
SEED = must(f"a whole number from 0 to {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED)
ABOVE_0 = must("above 0", lambda value: value > 0)
PROBABILITY = must("a probability from 0 to 1", lambda value: 0 <= value <= 1)
FRACTION = must("a fraction from 0 to 1", lambda value: 0 <= value <= 1)
WHOLE_NUMBERS = must(
  "a tuple of whole numbers, as (1,2)", lambda value: bool(value) and all(isinstance(v, int) and v >= 0 for v in value)
)


def interval(be: str, allows: Callable[[Any, Any], bool]) -> Rule:
  """Returns the rule of a pair (lowest, highest), from a predicate of the two."""
  return must(f"(lowest, highest), {be}", lambda value: len(value) == 2 and allows(*value))
