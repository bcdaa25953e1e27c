"""Captions in the style of CUHK-PEDES: the visible attributes, in varying words and order."""

import re

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
  fix_articles,
  mistaken,
  with_article,
)

MIN_WORDS, MAX_WORDS = 8, 45
# Fraction of attributes described wrongly, as a similar colour or kind.
DEFAULT_NOISE = 0.04
# How often an annotator mentions a visible attribute.
MENTION_PROBABILITY = {
  "gender": 0.92,
  "build": 0.16,
  "hair_length": 0.55,
  "hair_colour": 0.9,
  "hat": 0.85,
  "hat_colour": 0.9,
  "top": 0.96,
  "top_colour": 0.97,
  "pattern": 0.85,
  "pattern_colour": 0.95,
  "under_colour": 0.6,
  "bottom": 0.93,
  "bottom_colour": 0.97,
  "shoes": 0.68,
  "shoes_colour": 0.92,
  "bag": 0.88,
  "bag_colour": 0.85,
  "held": 0.78,
  "held_colour": 0.75,
}
# Attributes that are mentioned only together with another one.
MENTIONED_WITH = {"pattern": "top_colour", "pattern_colour": "pattern", "hat_colour": "hat", "held_colour": "held",
             "under_colour": "top"}  # fmt: skip
FILLERS = ("walking down the street", "walking along the way", "standing on the sidewalk", "walking past other people")


def describe(
  rng: np.random.Generator, person: Person, view: str, visible: frozenset[str], *, noise: float = DEFAULT_NOISE
) -> tuple[str, dict[str, str]]:
  """Returns (a caption of 8 to 45 words, the attributes that it mentions with the values it gives, mistakes included).

  Only attributes in `visible` are mentioned. `noise` is the fraction of them with a wrong value.
  """
  mentioned: dict[str, str] = {}
  for name, value in person.attributes.items():
    keep = rng.random() < MENTION_PROBABILITY[name]
    wrong = rng.random() < noise * (0.4 if name == "gender" else 1.0)
    if keep and name in visible and MENTIONED_WITH.get(name, name) in (mentioned.keys() | {name}):
      mentioned[name] = mistaken(rng, name, value) if wrong else value
  _drop_inexpressible(mentioned, person.attributes)
  while True:
    text = _sentences(rng, _Voice(rng, mentioned), person, mentioned, view)
    if len(text.split()) <= MAX_WORDS:
      break
    dropped = pick(
      rng, [name for name in ("held", "bag", "hat", "shoes", "hair_length", "under_colour") if name in mentioned]
    )
    for name in (dropped, f"{dropped}_colour", "hair_colour" if dropped == "hair_length" else dropped):
      mentioned.pop(name, None)
  if len(text.split()) < MIN_WORDS:
    text = f"{text.rstrip('.')}, {choose(rng, FILLERS)}."
  return text, mentioned


def _drop_inexpressible(mentioned, worn):
  """Removes attributes that no phrase can express, such as a second colour without its pattern."""
  if mentioned.get("pattern") not in (None, "plain") and "pattern_colour" not in mentioned:
    del mentioned["pattern"]
  if mentioned.get("pattern") in (None, "plain"):
    mentioned.pop("pattern_colour", None)
  if mentioned.get("hair_length") == "bald":
    mentioned.pop("hair_colour", None)
  elif worn["hair_length"] == "bald":
    mentioned.pop("hair_length", None)
  if mentioned.get("top") not in ("jacket", "coat"):
    mentioned.pop("under_colour", None)


class _Voice:
  """How a caption refers to its person: with and without article, and by pronouns."""

  def __init__(self, rng, mentioned):
    gender = mentioned.get("gender", "person")
    noun = choose(rng, SUBJECTS[gender])
    if "build" in mentioned:
      noun = f"{choose(rng, BUILD_WORDS[mentioned['build']])} {noun}"
    self.a_noun = with_article(rng, noun, "")
    self.the_noun = f"{'this' if rng.random() < 0.25 else 'the'} {noun}"
    self.he, self.him, self.his = {
      "man": ("he", "him", "his"), "woman": ("she", "her", "her"), "person": ("the person", "them", "their"),
    }[gender]  # fmt: skip


def _sentences(rng, voice, person, mentioned, view) -> str:
  clothes = [phrase for phrase in (_top(rng, person, mentioned), _bottom(rng, person, mentioned)) if phrase]
  extras = [phrase for phrase in (_shoes(rng, person, mentioned), _hat(rng, person, mentioned)) if phrase]
  items = clothes + extras
  if rng.random() < 0.3:
    items = [items[i] for i in rng.permutation(len(items))]
  hair = _hair(rng, person, mentioned, voice)
  acts = [phrase for phrase in (_bag(rng, person, mentioned, voice), _held(rng, person, mentioned, voice)) if phrase]
  if rng.random() < 0.14:
    acts.append(choose(rng, VIEW_PHRASES[view]))
  he, wears = voice.he, choose(rng, ("is wearing", "wears", "is dressed in", "has on"))
  doing = _join([act for act in acts if not act.startswith("with ")])
  having = "".join(f" {act}" for act in acts if act.startswith("with "))
  with_hair = f" with {hair}" if hair else ""
  if not items:
    return _finish([f"{voice.a_noun}{with_hair} can be seen only in part{having}", doing and f"{he} is {doing}"])
  frame = pick(rng, {"plain": 0.42, "parts": 0.22, "fragment": 0.18, "wearing": 0.18})
  if frame == "plain":
    return _finish([f"{voice.a_noun}{with_hair} {wears} {_join(items)}{having}", doing and f"{he} is {doing}"])
  if frame == "fragment":
    return _finish([f"{voice.a_noun}{with_hair} in {_join(items)}{having}{doing and ', ' + doing}"])
  if frame == "wearing":
    goes = f"is {doing}" if doing else choose(rng, ("is walking along", "is walking by", "is standing there"))
    return _finish([f"wearing {_join(items)}, {voice.the_noun}{with_hair} {goes}{having}"])
  first = f"{voice.the_noun} has {hair}" if hair else f"{voice.the_noun} {wears} {items.pop(0)}"
  second = items and f"{he} {wears if hair else 'also has on'} {_join(items)}{having}"
  third = doing and f"{he} is {doing}"
  return _finish([first, second, third] if second else [first + having, third])


def _top(rng, person, mentioned) -> str:
  if "top" not in mentioned and "top_colour" not in mentioned:
    return ""
  kind = choose(rng, KIND_WORDS[mentioned["top"]]) if "top" in mentioned else "top"
  first, second = _colour(rng, person, mentioned, "top_colour"), _colour(rng, person, mentioned, "pattern_colour")
  pattern = mentioned.get("pattern", "")
  phrase = choose(rng, TOP_PHRASES[pattern]).format(first=first, second=second, kind=kind).strip()
  phrase = with_article(rng, phrase, "")
  if "under_colour" in mentioned:
    under = with_article(
      rng, f"{_colour(rng, person, mentioned, 'under_colour')} {choose(rng, ('shirt', 'top', 't-shirt'))}", ""
    )
    phrase += choose(rng, (f" over {under}", f" with {under} underneath"))
  return phrase


def _bottom(rng, person, mentioned) -> str:
  if "bottom" not in mentioned and "bottom_colour" not in mentioned:
    return ""
  kind = mentioned.get("bottom", "")
  words = KIND_WORDS[kind] if kind else ("bottoms",)
  if kind == "trousers" and mentioned.get("bottom_colour") == "blue":
    words = ("jeans", "pants", "blue jeans", "trousers", "denim jeans")
  word = choose(rng, words)
  colour = _colour(rng, person, mentioned, "bottom_colour")
  phrase = word if word == "blue jeans" else f"{colour} {word}".strip()
  return with_article(rng, phrase, kind or "trousers")


def _shoes(rng, person, mentioned) -> str:
  if "shoes" not in mentioned and "shoes_colour" not in mentioned:
    return ""
  word = choose(rng, KIND_WORDS[mentioned["shoes"]]) if "shoes" in mentioned else "shoes"
  return with_article(rng, f"{_colour(rng, person, mentioned, 'shoes_colour')} {word}".strip(), "boots")


def _hat(rng, person, mentioned) -> str:
  if "hat" not in mentioned:
    return ""
  return with_article(
    rng,
    f"{_colour(rng, person, mentioned, 'hat_colour')} {choose(rng, KIND_WORDS[mentioned['hat']])}".strip(),
    "hat",
  )


def _hair(rng, person, mentioned, voice) -> str:
  if "hair_length" not in mentioned and "hair_colour" not in mentioned:
    return ""
  phrase = choose(rng, HAIR_PHRASES[mentioned.get("hair_length", "")])
  return re.sub(" +", " ", phrase.format(colour=_colour(rng, person, mentioned, "hair_colour"), his=voice.his)).strip()


def _bag(rng, person, mentioned, voice) -> str:
  if "bag" not in mentioned and "bag_colour" not in mentioned:
    return ""
  kind = mentioned.get("bag", "bag")
  word = choose(rng, KIND_WORDS.get(kind, ("bag",)))
  thing = with_article(rng, f"{_colour(rng, person, mentioned, 'bag_colour')} {word}".strip(), kind)
  return choose(rng, BAG_PHRASES[kind]).format(thing=thing, his=voice.his, him=voice.him)


def _held(rng, person, mentioned, voice) -> str:
  if "held" not in mentioned:
    return ""
  word = choose(rng, KIND_WORDS[mentioned["held"]])
  thing = with_article(rng, f"{_colour(rng, person, mentioned, 'held_colour')} {word}".strip(), mentioned["held"])
  return choose(rng, HELD_PHRASES[mentioned["held"]]).format(thing=thing, his=voice.his)


def _colour(rng, person, mentioned, name) -> str:
  """Returns a word for a mentioned colour, else ""; only a correct colour may be given as its exact shade."""
  if name not in mentioned:
    return ""
  shade = person.shades.get(name, "") if mentioned[name] == person.attributes[name] else ""
  return colour_word(rng, mentioned[name], shade)


def _join(phrases) -> str:
  if len(phrases) < 2:
    return "".join(phrases)
  return f"{', '.join(phrases[:-1])}{',' if len(phrases) > 2 else ''} and {phrases[-1]}"


def _finish(sentences) -> str:
  return fix_articles(" ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence))


def tokens(caption: str) -> list[str]:
  """Returns the caption's words in lower case without punctuation, as in the annotations of CUHK-PEDES."""
  return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", caption.lower())
