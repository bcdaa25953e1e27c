"""Phrases about the persons of the pool, in words that ToyPEDES also uses but other sentences."""

import numpy as np

from tireid_jax.data.toy.attributes import Person, pick
from tireid_jax.data.toy.words import (
  BAG_PHRASES,
  BUILD_WORDS,
  HAIR_PHRASES,
  HELD_PHRASES,
  KIND_WORDS,
  SUBJECTS,
  TOP_PHRASES,
  VIEW_PHRASES,
  choose,
  colour_word,
  with_article,
)

WEARS = ("in", "wearing", "dressed in", "who wears", "who is wearing", "who has on", "clothed in", "with")
PRONOUNS = {"man": ("his", "him"), "woman": ("her", "her"), "person": ("their", "them")}


def describe_person(
  rng: np.random.Generator, person: Person, view: str, *, has_colours: bool, has_patterns: bool, is_brief: bool = False
) -> str:
  """Returns a noun phrase for a person, with one to seven of the attributes that `view` shows.

  Args:
    rng: samples the attributes and words.
    person: whom to describe.
    view: "front", "back", "left" or "right".
    has_colours: whether the picture shows colours.
    has_patterns: whether it shows patterns of cloth.
    is_brief: at most two garments, and nothing carried: two such phrases fit into a caption of 77 tokens.
  """
  worn = person.attributes
  gender = worn["gender"] if rng.random() < 0.85 else "person"
  his, him = PRONOUNS[gender]
  noun = choose(rng, SUBJECTS[gender])
  if rng.random() < 0.12:
    noun = f"{choose(rng, BUILD_WORDS[worn['build']])} {noun}"
  clothes = [
    _item(rng, person, name, view, has_colours, has_patterns)
    for name in ("top", "bottom", "shoes", "hat")
    if name in worn
  ]
  most = 2 if is_brief else len(clothes)
  clothes = [clothes[k] for k in rng.permutation(len(clothes))[: 1 + int(rng.random() * most)]]
  text = f"a {noun}"
  if _shows_hair(worn) and rng.random() < 0.35:
    hair = choose(rng, HAIR_PHRASES[worn["hair_length"]])
    tone = colour_word(rng, worn.get("hair_colour", "")) if has_colours else ""
    text += f" with {' '.join(hair.format(colour=tone, his=his).split())}"
  text += f" {pick(rng, WEARS)} {_join(clothes)}"
  for name, phrases in (("bag", BAG_PHRASES), ("held", HELD_PHRASES)):
    if name in worn and not is_brief and rng.random() < 0.5 and _shows(worn[name], view):
      thing = _item(rng, person, name, view, has_colours, has_patterns)
      text += f" {choose(rng, phrases[worn[name]]).format(thing=thing, his=his, him=him)}"
  if rng.random() < 0.12:
    text += f", {choose(rng, VIEW_PHRASES[view])}"
  return text


def _item(rng, person, name, view, has_colours, has_patterns):
  worn = person.attributes
  kind = worn[name]
  words = KIND_WORDS[kind]
  if has_colours and kind == "trousers" and worn["bottom_colour"] == "blue" and rng.random() < 0.5:
    words = ("jeans", "blue jeans", "denim jeans", "denim pants")
  word = choose(rng, words)
  first = colour_word(rng, worn[f"{name}_colour"], person.shades.get(f"{name}_colour", "")) if has_colours else ""
  if word.startswith("blue "):
    first = ""
  pattern = worn["pattern"] if name == "top" and rng.random() < 0.85 else ""
  if (pattern == "logo" and view != "front") or not (has_colours and has_patterns):
    pattern = ""
  second = ""
  if pattern not in ("", "plain"):
    second = colour_word(rng, worn["pattern_colour"], person.shades.get("pattern_colour", ""))
  phrase = choose(rng, TOP_PHRASES[pattern]).format(first=first, second=second, kind=word)
  text = with_article(rng, " ".join(phrase.split()), kind)
  if name == "top" and "under_colour" in worn and view == "front" and has_colours and rng.random() < 0.5:
    text += f" over a {colour_word(rng, worn['under_colour'])} {choose(rng, ('shirt', 'top', 't-shirt'))}"
  return text


def _shows_hair(worn):
  return "hat" not in worn or worn["hair_length"] in ("long", "medium")


def _shows(kind, view):
  """Whether a bag or held object is sure to be seen: some are hidden behind the body."""
  if kind == "backpack":
    return view != "front"
  return kind == "umbrella" or view == "front"


def _join(phrases):
  return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
