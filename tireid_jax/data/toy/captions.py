"""Captions in the manner of CUHK-PEDES: what can be seen in the picture, in changing words and order."""

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
  colour_word,
  mend_articles,
  mistaken,
  say,
  with_article,
)

MIN_WORDS, MAX_WORDS = 8, 45
# Share of attributes told wrong: a neighbouring colour, a kind that looks alike.
DEFAULT_NOISE = 0.04
# How often an annotator mentions an attribute that can be seen.
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
# Attributes that are only told along with another one.
TOLD_WITH = {"pattern": "top_colour", "pattern_colour": "pattern", "hat_colour": "hat", "held_colour": "held",
             "under_colour": "top"}  # fmt: skip
FILLERS = ("walking down the street", "walking along the way", "standing on the sidewalk", "walking past other people")


def describe(
  rng: np.random.Generator, person: Person, view: str, visible: frozenset[str], *, noise: float = DEFAULT_NOISE
) -> tuple[str, dict[str, str]]:
  """Returns (a caption of 8 to 45 words, the attributes it tells as it tells them, mistakes included).

  Only attributes in `visible` are told. `noise` is the share of them told wrong.
  """
  told: dict[str, str] = {}
  for name, value in person.attributes.items():
    keep = rng.random() < MENTION_PROBABILITY[name]
    wrong = rng.random() < noise * (0.4 if name == "gender" else 1.0)
    if keep and name in visible and TOLD_WITH.get(name, name) in (told.keys() | {name}):
      told[name] = mistaken(rng, name, value) if wrong else value
  _drop_what_cannot_be_said(told, person.attributes)
  while True:
    text = _sentences(rng, _Voice(rng, told), person, told, view)
    if len(text.split()) <= MAX_WORDS:
      break
    dropped = pick(
      rng, [name for name in ("held", "bag", "hat", "shoes", "hair_length", "under_colour") if name in told]
    )
    for name in (dropped, f"{dropped}_colour", "hair_colour" if dropped == "hair_length" else dropped):
      told.pop(name, None)
  if len(text.split()) < MIN_WORDS:
    text = f"{text.rstrip('.')}, {say(rng, FILLERS)}."
  return text, told


def _drop_what_cannot_be_said(told, worn):
  """Keeps `told` to what a sentence can carry: a second colour needs its pattern and so on."""
  if told.get("pattern") not in (None, "plain") and "pattern_colour" not in told:
    del told["pattern"]
  if told.get("pattern") in (None, "plain"):
    told.pop("pattern_colour", None)
  if told.get("hair_length") == "bald":
    told.pop("hair_colour", None)
  elif worn["hair_length"] == "bald":
    told.pop("hair_length", None)
  if told.get("top") not in ("jacket", "coat"):
    told.pop("under_colour", None)


class _Voice:
  """How one caption names its person: words for the noun, the pronouns and each thing told."""

  def __init__(self, rng, told):
    gender = told.get("gender", "person")
    noun = say(rng, SUBJECTS[gender])
    if "build" in told:
      noun = f"{say(rng, BUILD_WORDS[told['build']])} {noun}"
    self.a_noun = with_article(rng, noun, "")
    self.the_noun = f"{'this' if rng.random() < 0.25 else 'the'} {noun}"
    self.he, self.him, self.his = {
      "man": ("he", "him", "his"), "woman": ("she", "her", "her"), "person": ("the person", "them", "their"),
    }[gender]  # fmt: skip


def _sentences(rng, voice, person, told, view) -> str:
  clothes = [phrase for phrase in (_top(rng, person, told), _bottom(rng, person, told)) if phrase]
  extras = [phrase for phrase in (_shoes(rng, person, told), _hat(rng, person, told)) if phrase]
  items = clothes + extras
  if rng.random() < 0.3:
    items = [items[i] for i in rng.permutation(len(items))]
  hair = _hair(rng, person, told, voice)
  acts = [phrase for phrase in (_bag(rng, person, told, voice), _held(rng, person, told, voice)) if phrase]
  if rng.random() < 0.14:
    acts.append(say(rng, VIEW_PHRASES[view]))
  he, wears = voice.he, say(rng, ("is wearing", "wears", "is dressed in", "has on"))
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
    goes = f"is {doing}" if doing else say(rng, ("is walking along", "is walking by", "is standing there"))
    return _finish([f"wearing {_join(items)}, {voice.the_noun}{with_hair} {goes}{having}"])
  first = f"{voice.the_noun} has {hair}" if hair else f"{voice.the_noun} {wears} {items.pop(0)}"
  second = items and f"{he} {wears if hair else 'also has on'} {_join(items)}{having}"
  third = doing and f"{he} is {doing}"
  return _finish([first, second, third] if second else [first + having, third])


def _top(rng, person, told) -> str:
  if "top" not in told and "top_colour" not in told:
    return ""
  kind = say(rng, KIND_WORDS[told["top"]]) if "top" in told else "top"
  first, second = _colour(rng, person, told, "top_colour"), _colour(rng, person, told, "pattern_colour")
  pattern = told.get("pattern", "")
  phrase = say(rng, TOP_PHRASES[pattern]).format(first=first, second=second, kind=kind).strip()
  phrase = with_article(rng, phrase, "")
  if "under_colour" in told:
    under = with_article(
      rng, f"{_colour(rng, person, told, 'under_colour')} {say(rng, ('shirt', 'top', 't-shirt'))}", ""
    )
    phrase += say(rng, (f" over {under}", f" with {under} underneath"))
  return phrase


def _bottom(rng, person, told) -> str:
  if "bottom" not in told and "bottom_colour" not in told:
    return ""
  kind = told.get("bottom", "")
  words = KIND_WORDS[kind] if kind else ("bottoms",)
  if kind == "trousers" and told.get("bottom_colour") == "blue":
    words = ("jeans", "pants", "blue jeans", "trousers", "denim jeans")
  word = say(rng, words)
  colour = _colour(rng, person, told, "bottom_colour")
  phrase = word if word == "blue jeans" else f"{colour} {word}".strip()
  return with_article(rng, phrase, kind or "trousers")


def _shoes(rng, person, told) -> str:
  if "shoes" not in told and "shoes_colour" not in told:
    return ""
  word = say(rng, KIND_WORDS[told["shoes"]]) if "shoes" in told else "shoes"
  return with_article(rng, f"{_colour(rng, person, told, 'shoes_colour')} {word}".strip(), "boots")


def _hat(rng, person, told) -> str:
  if "hat" not in told:
    return ""
  return with_article(
    rng, f"{_colour(rng, person, told, 'hat_colour')} {say(rng, KIND_WORDS[told['hat']])}".strip(), "hat"
  )


def _hair(rng, person, told, voice) -> str:
  if "hair_length" not in told and "hair_colour" not in told:
    return ""
  phrase = say(rng, HAIR_PHRASES[told.get("hair_length", "")])
  return re.sub(" +", " ", phrase.format(colour=_colour(rng, person, told, "hair_colour"), his=voice.his)).strip()


def _bag(rng, person, told, voice) -> str:
  if "bag" not in told and "bag_colour" not in told:
    return ""
  kind = told.get("bag", "bag")
  word = say(rng, KIND_WORDS.get(kind, ("bag",)))
  thing = with_article(rng, f"{_colour(rng, person, told, 'bag_colour')} {word}".strip(), kind)
  return say(rng, BAG_PHRASES[kind]).format(thing=thing, his=voice.his, him=voice.him)


def _held(rng, person, told, voice) -> str:
  if "held" not in told:
    return ""
  word = say(rng, KIND_WORDS[told["held"]])
  thing = with_article(rng, f"{_colour(rng, person, told, 'held_colour')} {word}".strip(), told["held"])
  return say(rng, HELD_PHRASES[told["held"]]).format(thing=thing, his=voice.his)


def _colour(rng, person, told, name) -> str:
  """Returns a word for a colour that is told, "" else; only a colour told right may come in its exact shade."""
  if name not in told:
    return ""
  shade = person.shades.get(name, "") if told[name] == person.attributes[name] else ""
  return colour_word(rng, told[name], shade)


def _join(phrases) -> str:
  if len(phrases) < 2:
    return "".join(phrases)
  return f"{', '.join(phrases[:-1])}{',' if len(phrases) > 2 else ''} and {phrases[-1]}"


def _finish(sentences) -> str:
  return mend_articles(" ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence))


def tokens(caption: str) -> list[str]:
  """Returns the caption's words in lower case without marks, as CUHK-PEDES lists them."""
  return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", caption.lower())
