"""Captions of the pool's entries, sampled afresh on every call."""

import numpy as np

from tireid_jax.data.toy.attributes import pick
from tireid_jax.data.toy.pool.entry import Entry, person_of
from tireid_jax.data.toy.pool.people import describe_person
from tireid_jax.data.toy.pool.places import PLACES
from tireid_jax.data.toy.pool.styles import COLOURLESS, PATTERNLESS, STYLES
from tireid_jax.data.toy.pool.vocabulary import (
  BIG,
  COLOUR_TABLE,
  DIGIT_PHRASES,
  FLAGS,
  FRAMES,
  GROUND,
  LETTER_PHRASES,
  NUMBERS,
  PATTERN_PHRASES,
  PHOTO,
  POSITIONS,
  RELATIONS,
  REVERSED,
  SIDE_BY_SIDE,
  SMALL,
  SYNONYMS,
  plural,
  split,
)
from tireid_jax.data.toy.words import fix_articles


def caption(attributes: Entry, rng: np.random.Generator) -> str:
  """Returns a caption of an entry of `sample_entry`: a random selection of what it shows, in random words."""
  text = _TELL[attributes["kind"]](attributes, rng)
  if "place" in attributes:
    if rng.random() < 0.6:
      text = f"{text} {pick(rng, PLACES[attributes['place']][0])}"
  elif attributes["style"] not in ("grey",) and rng.random() < 0.2:
    text = f"{text} {one(rng, GROUND).format(colour(rng, attributes['ground']))}"
  style = pick(rng, STYLES[attributes["style"]][1]) if rng.random() < 0.5 else one(rng, PHOTO)
  frame = one(rng, FRAMES)
  if attributes["kind"] == "count":
    frame = frame.replace("this is", "these are").replace(" is", " are")
  return fix_articles(frame.format(style=style, text=text))


def one(rng: np.random.Generator, alternatives: str) -> str:
  """Samples one of "a|b|c"."""
  return pick(rng, split(alternatives))


def colour(rng: np.random.Generator, name: str) -> str:
  """Samples a word for a colour of COLOUR_TABLE: its name half the time."""
  return name if rng.random() < 0.5 else one(rng, COLOUR_TABLE[name][0])


def _noun(rng, thing):
  return one(rng, SYNONYMS.get(thing["name"], thing["name"])) if rng.random() < 0.6 else _first(thing)


def _first(thing):
  return split(SYNONYMS.get(thing["name"], thing["name"]))[0]


def _phrase(rng, thing, noun=None):
  """Returns a noun phrase without an article."""
  noun = noun or _noun(rng, thing)
  if "colour" not in thing or rng.random() < 0.08:
    return noun
  if "pattern" in thing and rng.random() < 0.9:
    return one(rng, PATTERN_PHRASES[thing["pattern"]]).format(
      a=colour(rng, thing["colour"]), b=colour(rng, thing["second"]), noun=noun
    )
  return (
    f"{noun} that is {colour(rng, thing['colour'])}"
    if rng.random() < 0.05
    else f"{colour(rng, thing['colour'])} {noun}"
  )


def _article(rng, thing):
  return f"a {_phrase(rng, thing)}"


def _single(attributes, rng):
  thing = attributes["things"][0]
  size = f"{one(rng, BIG)} " if thing["size"] > 0.85 and rng.random() < 0.4 else ""
  return f"a {size}{_phrase(rng, thing)}"


def _position(attributes, rng):
  size = f"{one(rng, SMALL)} " if rng.random() < 0.3 else ""
  return f"a {size}{_phrase(rng, attributes['things'][0])} {one(rng, POSITIONS[attributes['position']])}"


def _count(attributes, rng):
  things = attributes["things"]
  number = one(rng, NUMBERS[len(things)]) if rng.random() < 0.9 else one(rng, "several|some|many|multiple|a group of")
  return f"{number} {_phrase(rng, things[0], plural(_noun(rng, things[0])))}"


def _relation(attributes, rng):
  first, second = (_article(rng, thing) for thing in attributes["things"])
  relation = attributes["relation"]
  if rng.random() < 0.5:
    first, second, relation = second, first, REVERSED[relation]
  words = SIDE_BY_SIDE if relation in ("left", "right") and rng.random() < 0.2 else RELATIONS[relation]
  return f"{first} {one(rng, words)} {second}"


def _flag(attributes, rng):
  adjective, direction, colours = FLAGS[attributes["country"]]
  names = colours.split()
  stripes = {"h": "horizontal", "v": "vertical"}[direction]
  return one(
    rng,
    f"the flag of {attributes['country']}|the {adjective} flag|the national flag of {attributes['country']}"
    f"|a flag with {stripes} {', '.join(names[:-1])} and {names[-1]} bands",
  )


def _letter(attributes, rng):
  letter = attributes["letter"]
  phrase = one(rng, DIGIT_PHRASES if letter.isdigit() else LETTER_PHRASES).format(letter.lower())
  return f"{phrase} in {colour(rng, attributes['colour'])}"


def _people(attributes, rng):
  has_colours, has_patterns = attributes["style"] not in COLOURLESS, attributes["style"] not in PATTERNLESS
  people = attributes["people"]
  told = [
    describe_person(
      rng, person_of(data), data["view"], has_colours=has_colours, has_patterns=has_patterns, is_brief=len(people) > 1
    )
    for data in people
  ]
  if len(told) == 2:
    return f"{told[0]} {one(rng, 'next to|beside|and|with|left of|to the left of|alongside|accompanied by')} {told[1]}"
  if attributes.get("things"):
    thing = attributes["things"][0]
    side = "right" if thing["x"] < 0.5 else "left"
    words = RELATIONS[side] if rng.random() < 0.5 else "next to|beside|near|standing beside|close to"
    return f"{told[0]}, {one(rng, words)} {_article(rng, thing)}"
  return told[0]


_TELL = {"single": _single, "position": _position, "count": _count, "relation": _relation, "flag": _flag,
         "letter": _letter, "person": _people, "two": _people}  # fmt: skip
