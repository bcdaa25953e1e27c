"""Synthetic persons: unique combinations of attributes, sampled from a seed."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tireid_jax.data.toy.palette import COLOURS, HAIR_COLOURS, RGB, SHADES, SKINS, luma, mix

# Every random stream is default_rng([seed, domain, ...]), with a domain for each data set.
PEDES, GENERIC, ILLUSTRATED = 1, 2, 3
SPLITS = ("train", "val", "test")

BUILDS = {"slim": 0.3, "average": 0.45, "heavy": 0.25}
HAIR_LENGTHS = {
  "man": {"bald": 0.08, "short": 0.7, "medium": 0.13, "long": 0.09},
  "woman": {"short": 0.12, "medium": 0.28, "long": 0.38, "ponytail": 0.22},
}
HAIR_COLOUR_WEIGHTS = {"black": 0.36, "brown": 0.27, "blond": 0.19, "grey": 0.09, "red": 0.09}
HATS = {"none": 0.68, "cap": 0.14, "beanie": 0.1, "hat": 0.08}
TOPS = {
  "man": {
    "t-shirt": 0.22,
    "shirt": 0.2,
    "sweater": 0.14,
    "hoodie": 0.14,
    "jacket": 0.17,
    "coat": 0.07,
    "vest": 0.06,
  },
  "woman": {
    "t-shirt": 0.18,
    "shirt": 0.14,
    "sweater": 0.13,
    "hoodie": 0.09,
    "jacket": 0.15,
    "coat": 0.08,
    "vest": 0.08,
    "dress": 0.15,
  },
}
PATTERNS = {
  "t-shirt": {"plain": 0.36, "stripes": 0.18, "vertical": 0.06, "checks": 0.04, "dots": 0.1, "logo": 0.26},
  "shirt": {"plain": 0.44, "stripes": 0.08, "vertical": 0.16, "checks": 0.26, "dots": 0.06},
  "sweater": {"plain": 0.5, "stripes": 0.3, "vertical": 0.03, "checks": 0.05, "dots": 0.05, "logo": 0.07},
  "hoodie": {"plain": 0.55, "stripes": 0.12, "logo": 0.33},
  "jacket": {"plain": 0.84, "checks": 0.1, "vertical": 0.06},
  "coat": {"plain": 0.84, "checks": 0.16},
  "vest": {"plain": 0.5, "stripes": 0.22, "dots": 0.14, "logo": 0.14},
  "dress": {"plain": 0.42, "stripes": 0.18, "vertical": 0.08, "checks": 0.08, "dots": 0.24},
}
# Open at the front, so the garment underneath is visible.
OPEN_TOPS = ("jacket", "coat")
BOTTOMS = {
  "man": {"trousers": 0.7, "shorts": 0.3},
  "woman": {"trousers": 0.48, "shorts": 0.18, "skirt": 0.34},
}
SHOES = {
  "man": {"sneakers": 0.5, "leather shoes": 0.18, "boots": 0.16, "sandals": 0.16},
  "woman": {"sneakers": 0.38, "heels": 0.22, "boots": 0.2, "sandals": 0.2},
}
BAGS = {
  "man": {"none": 0.36, "backpack": 0.27, "shoulder bag": 0.2, "handbag": 0.07, "suitcase": 0.1},
  "woman": {"none": 0.3, "backpack": 0.2, "shoulder bag": 0.2, "handbag": 0.21, "suitcase": 0.09},
}
HELD = {"none": 0.6, "phone": 0.1, "bottle": 0.08, "folder": 0.08, "umbrella": 0.08, "cup": 0.06}

TOP_COLOURS = dict.fromkeys(COLOURS, 1.0)
BOTTOM_COLOURS = {**dict.fromkeys(COLOURS, 1.0), "black": 1.8, "blue": 1.8, "grey": 1.4, "white": 1.2, "beige": 1.2}
SHOE_COLOURS = {**dict.fromkeys(COLOURS, 0.7), "white": 2.2, "black": 2.2, "brown": 1.4, "red": 1.2}

# Minimum difference in luma between the two colours of a pattern, of 255.
MIN_PATTERN_CONTRAST = 55.0


@dataclasses.dataclass(frozen=True)
class Person:
  """One identity.

  Attributes:
    attributes: value by name; the names are gender, build, hair_length, hair_colour, hat, hat_colour, top, top_colour,
      pattern, pattern_colour, under_colour, bottom, bottom_colour, shoes, shoes_colour, bag, bag_colour, held,
      held_colour. Absent if the person does not wear or carry it.
    shades: "dark" or "light" by colour attribute; absent for the plain colour.
    paint: painted RGB value by colour attribute, and of "skin".
    bag_side: +1 if the bag is on the person's left, -1 on the right. Held objects are in the other hand.
  """

  attributes: dict[str, str]
  shades: dict[str, str]
  paint: dict[str, RGB]
  bag_side: int


def is_colour(name: str) -> bool:
  """Whether the attribute `name` is a colour, as opposed to a shape (a kind, a pattern, a build)."""
  return name.endswith("_colour")


def pick(rng: np.random.Generator, options: dict[str, float] | Sequence[str]) -> str:
  """Samples one of `options`, by weight if it is a dict; much faster than Generator.choice for short lists."""
  if not isinstance(options, dict):
    return options[int(rng.random() * len(options))]
  mark = rng.random() * sum(options.values())
  for value, weight in options.items():
    mark -= weight
    if mark < 0:
      return value
  return value


def sample_attributes(rng: np.random.Generator) -> dict[str, str]:
  """Samples one combination of attributes, which may repeat an earlier one."""
  gender = pick(rng, ("man", "woman"))
  chosen = {"gender": gender, "build": pick(rng, BUILDS), "hair_length": pick(rng, HAIR_LENGTHS[gender])}
  if chosen["hair_length"] != "bald":
    chosen["hair_colour"] = pick(rng, HAIR_COLOUR_WEIGHTS)
  chosen["hat"] = pick(rng, HATS)
  chosen["hat_colour"] = pick(rng, TOP_COLOURS)
  top = chosen["top"] = pick(rng, TOPS[gender])
  chosen["top_colour"] = pick(rng, TOP_COLOURS)
  chosen["pattern"] = pick(rng, PATTERNS[top])
  if chosen["pattern"] != "plain":
    chosen["pattern_colour"] = pick(rng, standing_out(chosen["top_colour"]))
  if top in OPEN_TOPS:
    chosen["under_colour"] = pick(rng, standing_out(chosen["top_colour"]))
  if top != "dress":
    chosen["bottom"] = pick(rng, BOTTOMS[gender])
    chosen["bottom_colour"] = pick(rng, BOTTOM_COLOURS)
  chosen["shoes"] = pick(rng, SHOES[gender])
  chosen["shoes_colour"] = pick(rng, SHOE_COLOURS)
  chosen["bag"] = pick(rng, BAGS[gender])
  chosen["bag_colour"] = pick(rng, TOP_COLOURS)
  chosen["held"] = pick(rng, HELD)
  chosen["held_colour"] = pick(rng, TOP_COLOURS)
  return {name: value for name, value in chosen.items() if value != "none" and chosen.get(name.split("_")[0]) != "none"}


def standing_out(colour: str) -> tuple[str, ...]:
  """Returns the colours that are clearly visible as the second colour of a pattern on `colour`."""
  return tuple(
    other
    for other in COLOURS
    if other != colour and abs(luma(COLOURS[other]) - luma(COLOURS[colour])) >= MIN_PATTERN_CONTRAST
  )


def make_person(rng: np.random.Generator, attributes: dict[str, str]) -> Person:
  """Samples the rest of a person with these attributes: exact shades, skin and the side of the bag."""
  shades: dict[str, str] = {}
  paint: dict[str, RGB] = {"skin": SKINS[int(rng.random() * len(SKINS))]}
  for name, colour in attributes.items():
    if not is_colour(name):
      continue
    base = HAIR_COLOURS[colour] if name == "hair_colour" else COLOURS[colour]
    options = {} if name == "hair_colour" else SHADES.get(colour, {})
    mark = rng.random()
    for shade, rgb in zip(options, options.values(), strict=True):
      mark -= 0.22
      if mark < 0:
        shades[name], base = shade, rgb
        break
    tone = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    paint[name] = mix(base, tone, 0.09 * rng.random())
  return Person(attributes, shades, paint, bag_side=1 if rng.random() < 0.5 else -1)


def sample_people(seed: int, counts: dict[str, int], domain: int = PEDES) -> dict[str, list[Person]]:
  """Samples `counts[split]` persons for each split, no two of them with the same attributes.

  A person depends only on the seed, the split and its index, not on the counts: persons of all splits are sampled in
  turn, up to the longest split, and a combination that has occurred before is resampled.
  """
  people: dict[str, list[Person]] = {split: [] for split in SPLITS}
  seen = set()
  for index in range(max(counts.values())):
    for number, split in enumerate(SPLITS):
      rng = np.random.default_rng([seed, domain, number, index])
      attributes = sample_attributes(rng)
      while tuple(sorted(attributes.items())) in seen:
        attributes = sample_attributes(rng)
      seen.add(tuple(sorted(attributes.items())))
      if index < counts[split]:
        people[split].append(make_person(rng, attributes))
  return people
