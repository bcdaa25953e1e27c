"""Words for colours and kinds, and what an inattentive annotator mistakes them for."""

import re

import numpy as np

from tireid_jax.data.toy.palette import CONFUSED_COLOURS

# The first of several is used about half the time.
COLOUR_WORDS: dict[str, tuple[str, ...]] = {"grey": ("gray", "grey"), "beige": ("beige", "tan", "cream", "khaki"),
  "blond": ("blond", "blonde"), "purple": ("purple", "violet")}  # fmt: skip
SHADE_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
  ("grey", "dark"): ("dark gray", "dark grey", "charcoal"),
  ("grey", "light"): ("light gray", "light grey"),
  ("red", "dark"): ("dark red", "maroon", "burgundy"),
  ("blue", "dark"): ("navy", "dark blue", "navy blue"),
  ("blue", "light"): ("light blue", "sky blue"),
  ("green", "dark"): ("dark green",),
  ("green", "light"): ("light green",),
  ("brown", "dark"): ("dark brown",),
  ("brown", "light"): ("light brown",),
  ("purple", "light"): ("light purple", "lavender"),
}
SHADE_PROBABILITY = 0.55

KIND_WORDS: dict[str, tuple[str, ...]] = {
  "t-shirt": ("t-shirt", "tee shirt", "short sleeved shirt", "tee", "short sleeve top"),
  "shirt": ("shirt", "button up shirt", "long sleeved shirt", "collared shirt", "blouse"),
  "sweater": ("sweater", "pullover", "jumper", "long sleeved sweater"),
  "hoodie": ("hoodie", "hooded sweatshirt", "sweatshirt with a hood"),
  "jacket": ("jacket", "open jacket", "zip up jacket"),
  "coat": ("coat", "long coat", "trench coat", "overcoat"),
  "vest": ("tank top", "sleeveless top", "vest", "sleeveless shirt"),
  "dress": ("dress", "knee length dress", "gown"),
  "trousers": ("pants", "trousers", "slacks", "long pants"),
  "shorts": ("shorts", "short pants", "knee length shorts"),
  "skirt": ("skirt", "short skirt", "knee length skirt"),
  "sneakers": ("sneakers", "tennis shoes", "trainers", "athletic shoes", "shoes"),
  "leather shoes": ("dress shoes", "leather shoes", "shoes", "loafers"),
  "boots": ("boots", "high boots", "rain boots"),
  "sandals": ("sandals", "flip flops", "open shoes"),
  "heels": ("high heels", "heels", "high heeled shoes"),
  "backpack": ("backpack", "back pack", "rucksack", "knapsack"),
  "shoulder bag": ("shoulder bag", "messenger bag", "crossbody bag", "satchel"),
  "handbag": ("handbag", "purse", "hand bag"),
  "suitcase": ("suitcase", "rolling suitcase", "piece of luggage"),
  "phone": ("phone", "cell phone", "mobile phone", "smartphone"),
  "bottle": ("bottle", "water bottle", "drink bottle"),
  "folder": ("folder", "book", "notebook"),
  "umbrella": ("umbrella", "open umbrella", "parasol"),
  "cup": ("cup", "cup of coffee", "paper cup"),
  "cap": ("cap", "baseball cap", "ball cap"),
  "beanie": ("beanie", "knit hat", "wool cap", "winter hat"),
  "hat": ("hat", "brimmed hat", "sun hat"),
}
PLURAL = ("trousers", "shorts", "sneakers", "leather shoes", "boots", "sandals", "heels")

SUBJECTS: dict[str, tuple[str, ...]] = {
  "man": ("man", "male", "guy", "young man", "gentleman", "boy"),
  "woman": ("woman", "lady", "female", "young woman", "girl"),
  "person": ("person", "pedestrian", "individual"),
}
BUILD_WORDS = {
  "slim": ("slim", "thin", "slender", "skinny"),
  "heavy": ("heavyset", "stocky", "large", "overweight"),
  "average": ("medium built",),
}
HAIR_PHRASES = {
  "short": ("short {colour} hair", "{colour} hair cut short"),
  "medium": ("medium length {colour} hair", "chin length {colour} hair", "{colour} hair in a bob"),
  "long": ("long {colour} hair", "{colour} hair down past {his} shoulders"),
  "ponytail": ("{colour} hair in a ponytail", "{colour} hair tied back", "a {colour} ponytail"),
  "bald": ("a bald head", "no hair", "a shaved head"),
  "": ("{colour} hair",),
}
TOP_PHRASES = {
  "": ("{first} {kind}",),
  "plain": ("plain {first} {kind}", "solid {first} {kind}"),
  "stripes": ("{first} and {second} striped {kind}", "{first} {kind} with {second} stripes",
              "{first} {kind} with horizontal {second} stripes"),
  "vertical": ("{first} {kind} with vertical {second} stripes", "vertically striped {first} and {second} {kind}",
               "{first} {kind} with thin {second} lines running down"),
  "checks": ("{first} and {second} checkered {kind}", "{first} and {second} plaid {kind}",
             "checked {kind} in {first} and {second}"),
  "dots": ("{first} {kind} with {second} dots", "{first} {kind} with {second} polka dots",
           "{second} dotted {first} {kind}"),
  "logo": ("{first} {kind} with a {second} logo on the front", "{first} {kind} with a {second} print on the chest",
           "{first} {kind} with a {second} emblem"),
}  # fmt: skip
BAG_PHRASES = {
  "backpack": ("carrying {thing} on {his} back", "wearing {thing}", "with {thing} strapped to {his} back"),
  "shoulder bag": ("carrying {thing}", "with {thing} slung across {his} body", "with {thing} over {his} shoulder"),
  "handbag": ("carrying {thing}", "holding {thing}", "with {thing} in {his} hand"),
  "suitcase": ("pulling {thing}", "with {thing} beside {him}", "dragging {thing} along"),
  "bag": ("carrying {thing}", "with {thing}"),
}
HELD_PHRASES = {
  "phone": ("holding {thing}", "looking at {thing}", "using {thing}"),
  "bottle": ("holding {thing}", "carrying {thing}", "with {thing} in {his} hand"),
  "folder": ("holding {thing}", "carrying {thing} against {his} chest", "with {thing} in {his} arm"),
  "umbrella": ("holding {thing}", "walking under {thing}", "with {thing} over {his} head"),
  "cup": ("holding {thing}", "drinking from {thing}", "with {thing} in {his} hand"),
}
VIEW_PHRASES = {
  "front": ("walking towards the camera", "facing the camera"),
  "back": ("walking away from the camera", "seen from behind", "facing away"),
  "left": ("walking to the left", "seen from the side"),
  "right": ("walking to the right", "seen from the side"),
}

CONFUSED_KINDS: dict[str, tuple[str, ...]] = {
  "t-shirt": ("shirt", "vest"),
  "shirt": ("t-shirt", "jacket", "sweater"),
  "sweater": ("hoodie", "shirt", "t-shirt"),
  "hoodie": ("sweater", "jacket"),
  "jacket": ("coat", "shirt", "hoodie"),
  "coat": ("jacket", "dress"),
  "vest": ("t-shirt",),
  "dress": ("coat", "vest"),
  "trousers": ("shorts",),
  "shorts": ("skirt", "trousers"),
  "skirt": ("shorts",),
  "sneakers": ("leather shoes", "sandals"),
  "leather shoes": ("sneakers", "boots"),
  "boots": ("leather shoes",),
  "sandals": ("sneakers", "heels"),
  "heels": ("sandals", "leather shoes"),
  "backpack": ("shoulder bag",),
  "shoulder bag": ("handbag", "backpack"),
  "handbag": ("shoulder bag",),
  "suitcase": ("handbag",),
  "phone": ("cup",),
  "bottle": ("cup", "phone"),
  "folder": ("phone",),
  "cup": ("bottle",),
  "umbrella": ("bottle",),
  "cap": ("hat", "beanie"),
  "beanie": ("cap",),
  "hat": ("cap",),
  "bald": ("short",),
  "short": ("medium", "bald"),
  "medium": ("long", "short"),
  "long": ("medium",),
  "ponytail": ("short", "long"),
  "man": ("woman",),
  "woman": ("man",),
  "stripes": ("checks",),
  "vertical": ("stripes",),
  "checks": ("stripes", "vertical"),
  "dots": ("checks",),
}


def choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
  """Samples one of `options`: the first half the time, else another."""
  if len(options) == 1 or rng.random() < 0.5:
    return options[0]
  return options[1 + int(rng.random() * (len(options) - 1))]


def mistaken(rng: np.random.Generator, name: str, value: str) -> str:
  """Samples what `value` of the attribute `name` is mistaken for; `value` itself if nothing is similar."""
  options = CONFUSED_COLOURS.get(value, ()) if name.endswith("_colour") else CONFUSED_KINDS.get(value, ())
  if name == "hair_colour":
    options = {"black": ("brown",), "brown": ("black",), "grey": ("blond",), "red": ("brown",)}.get(value, options)
  return options[int(rng.random() * len(options))] if options else value


def colour_word(rng: np.random.Generator, colour: str, shade: str = "") -> str:
  """Samples a word for `colour`, which may name its shade: "navy" or "dark blue" for a dark blue."""
  if shade and rng.random() < SHADE_PROBABILITY:
    return choose(rng, SHADE_WORDS[colour, shade])
  return choose(rng, COLOUR_WORDS.get(colour, (colour,)))


def with_article(rng: np.random.Generator, phrase: str, kind: str) -> str:
  """Returns `phrase` as a noun phrase: "a red cap", "black boots", "a pair of black boots"."""
  if kind in PLURAL:
    return f"a pair of {phrase}" if rng.random() < 0.12 else phrase
  return f"a {phrase}"


def fix_articles(text: str) -> str:
  """Replaces "a" by "an" before vowels."""
  return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
