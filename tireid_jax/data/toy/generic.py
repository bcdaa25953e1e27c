"""The generic domain: single garments, objects and persons on a light background, with short captions."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from tireid_jax.data.toy import bottoms, head, objects, things, tops
from tireid_jax.data.toy.attributes import (
  BOTTOMS,
  HATS,
  OPEN_TOPS,
  PATTERNS,
  SHOES,
  TOP_COLOURS,
  TOPS,
  Person,
  make_person,
  pick,
  sample_attributes,
  standing_out,
)
from tireid_jax.data.toy.body import measure, stand
from tireid_jax.data.toy.camera import visible_attributes
from tireid_jax.data.toy.canvas import Canvas, Pen
from tireid_jax.data.toy.figure import draw_person
from tireid_jax.data.toy.palette import RGB, mix
from tireid_jax.data.toy.words import (
  COLOUR_WORDS,
  KIND_WORDS,
  SHADE_WORDS,
  SUBJECTS,
  choose,
  fix_articles,
  with_article,
)

WIDTH, HEIGHT = 72, 144
JPEG_QUALITY = 90
KINDS = {"figure": 0.66, "top": 0.09, "bottom": 0.05, "shoes": 0.03, "hat": 0.03, "thing": 0.08, "object": 0.06}
BAGS = ("backpack", "shoulder bag", "handbag", "suitcase")
OPENINGS = ("", "a photo of ", "a drawing of ", "a picture of ", "an image of ")
FIGURE_FRAMES = ("{subject} in {items}", "{subject} wearing {items}")


def draw_generic(rng: np.random.Generator, num_captions: int) -> tuple[bytes, list[str]]:
  """Returns (JPEG file, captions) of one subject in the centre of a plain light background."""
  shade = rng.uniform(0.0, 0.1)
  ground = mix((252, 252, 250), pick_tint(rng), shade)
  canvas = Canvas(Image.new("RGB", (WIDTH, HEIGHT), ground), WIDTH, HEIGHT)
  kind = pick(rng, KINDS)
  tell = _figure(canvas, rng) if kind == "figure" else _single(canvas, rng, kind, ground)
  file = io.BytesIO()
  picture = canvas.picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
  picture.save(file, "JPEG", quality=JPEG_QUALITY)
  return file.getvalue(), [fix_articles(pick(rng, OPENINGS) + tell()) for _ in range(num_captions)]


def pick_tint(rng) -> RGB:
  return ((200, 200, 210), (226, 214, 190), (190, 214, 226), (214, 226, 200))[int(rng.random() * 4)]


def _figure(canvas, rng) -> Callable[[], str]:
  """Draws a person and returns a function that captions a random selection of its visible attributes."""
  attributes = sample_attributes(rng)
  if attributes.get("held") == "umbrella":
    del attributes["held"], attributes["held_colour"]
  person = make_person(rng, attributes)
  view = pick(rng, {"front": 0.48, "back": 0.3, "left": 0.11, "right": 0.11})
  # Broader than the persons of ToyPEDES, and with a small stride.
  height = 126 * rng.uniform(0.86, 1.02)
  x, y = WIDTH / 2 + rng.uniform(-5, 5), HEIGHT - 6 - height - rng.uniform(0, 6)
  pen = Pen(canvas, x, y, height, breadth=rng.uniform(1.04, 1.22), mirror=view == "left")
  draw_person(pen, person, view, phase=rng.uniform(0, 6.28), stride=0.4, light=1)
  areas = canvas.areas()
  visible = visible_attributes(person, view, areas, areas)
  return lambda: _tell_figure(rng, person, visible)


def _tell_figure(rng, person, visible) -> str:
  items, attributes = [], person.attributes
  for name in ("top", "bottom", "shoes", "hat", "bag", "held"):
    if name in visible and f"{name}_colour" in visible:
      items.append((name, _noun(rng, person, name)))
  if "hair_length" in visible and attributes["hair_length"] not in ("bald", "ponytail"):
    items.append(("hair", f"{attributes['hair_length']} {attributes['hair_colour']} hair"))
  count = min(len(items), 2 + int(rng.random() * 4))
  chosen = [items[index] for index in sorted(rng.permutation(len(items))[:count])]
  worn = [noun for name, noun in chosen if name in ("top", "bottom", "shoes", "hat")]
  other = [noun for name, noun in chosen if name in ("bag", "held", "hair")]
  subject = f"a {attributes['gender']}" if rng.random() < 0.7 else f"a {choose(rng, SUBJECTS[attributes['gender']])}"
  if not worn:
    return f"{subject} with {_and(other)}"
  text = FIGURE_FRAMES[int(rng.random() * 2)].format(subject=subject, items=_and(worn))
  return text + (f" with {_and(other)}" if other else "")


def _single(canvas, rng, kind, ground) -> Callable[[], str]:
  """Draws one garment or object and returns a function that captions it."""
  size = rng.uniform(0.88, 1.08)
  x, y = WIDTH / 2 + rng.uniform(-3, 3), HEIGHT / 2 + rng.uniform(-5, 5)
  colour = pick(rng, TOP_COLOURS)
  if kind == "object":
    name = pick(rng, tuple(objects.OBJECTS))
    person = make_person(rng, {"bag_colour": colour})
    objects.OBJECTS[name](Pen(canvas, x, y, 60 * size), person.paint["bag_colour"])
    return lambda: with_article(rng, f"{_colour(rng, person, 'bag_colour')} {name}", name)
  if kind == "thing":
    name = pick(rng, (*BAGS, *things.DRAW_HELD))
    person = make_person(rng, {"bag": name, "bag_colour": colour})
    _draw_thing(canvas, name, person.paint["bag_colour"], x, y, size)
    return lambda: _noun(rng, person, "bag")
  person = _garment(rng, kind, colour)
  person.paint["skin"] = ground if kind == "shoes" else mix(person.paint.get("top_colour", ground), (0, 0, 0), 0.35)
  _draw_garment(canvas, kind, person, "back" if rng.random() < 0.25 else "front", x, y, size)
  return lambda: _noun(rng, person, kind)


def _garment(rng, kind, colour) -> Person:
  gender = pick(rng, ("man", "woman"))
  attributes = {"gender": gender, "build": "average", "pattern": "plain"}
  if kind == "top":
    top = pick(rng, TOPS[gender])
    attributes |= {"top": top, "top_colour": colour, "pattern": pick(rng, PATTERNS[top])}
    if attributes["pattern"] != "plain":
      attributes["pattern_colour"] = pick(rng, standing_out(colour))
    if top in OPEN_TOPS:
      attributes["under_colour"] = pick(rng, standing_out(colour))
  else:
    worn = HATS.keys() - {"none"} if kind == "hat" else (BOTTOMS if kind == "bottom" else SHOES)[gender]
    attributes |= {kind: pick(rng, sorted(worn)), f"{kind}_colour": colour}
  return make_person(rng, attributes)


def _draw_garment(canvas, kind, person, view, x, y, size):
  body = measure("man", "average", kind == "shoes")
  if kind == "hat":
    head.draw_hat(Pen(canvas, x, y, 310 * size), person.attributes["hat"], person.paint["hat_colour"], view)
  elif kind == "shoes":
    pose = stand("right", body, phase=0.0, stride=0.0)
    for dx, dy in ((-12, -14), (-2, 14)):
      pen = Pen(canvas, x + dx, y + dy - 0.93 * 330 * size, 330 * size)
      bottoms.draw_shoe(pen, person, pose, 1)
  elif kind == "bottom":
    pose = stand("front", body, phase=0.0, stride=0.0)
    pen = Pen(canvas, x, y - 0.66 * 190 * size, 190 * size)
    for index in (0, 1):
      bottoms.draw_leg(pen, person, body, pose, index, skin=False)
    bottoms.draw_hips(pen, person, body, pose)
  else:
    pose = stand(view, body, phase=0.0, stride=0.0)
    pen = Pen(canvas, x, y - 0.36 * 190 * size, 190 * size)
    tops.draw_torso(pen, person, body, pose, 1)
    for index in (0, 1):
      tops.draw_arm(pen, person, body, pose, index, skin=False)


def _draw_thing(canvas, name, rgb, x, y, size):
  if name == "backpack":
    things.backpack(Pen(canvas, x, y, 200 * size), (0, 0), 0.11, 0.16, rgb)
  elif name == "shoulder bag":
    pen = Pen(canvas, x, y, 260 * size)
    pen.line([(-0.07, 0.02), (-0.03, -0.2), (0.03, -0.2), (0.07, 0.02)], 0.014, mix(rgb, (0, 0, 0), 0.25))
    things.satchel(pen, (0, 0.06), 0.088, 0.07, rgb)
  elif name == "handbag":
    things.handbag(Pen(canvas, x, y - 30, 330 * size), (0, 0), 0.085, rgb)
  elif name == "suitcase":
    things.suitcase(Pen(canvas, x, y + 40, 270 * size), (0, 0), 0.085, 0.22, rgb, handle=(0, -0.34))
  else:
    scale = {"umbrella": 130.0, "folder": 360.0, "bottle": 420.0}.get(name, 460.0)
    things.DRAW_HELD[name](Pen(canvas, x, y + (8 if name != "folder" else 20), scale * size), (0, 0), rgb)


def _noun(rng, person, name) -> str:
  """Returns a noun phrase with colours, such as "a red and white striped shirt"."""
  kind = person.attributes[name]
  word = kind if rng.random() < 0.5 else choose(rng, KIND_WORDS[kind])
  first = _colour(rng, person, f"{name}_colour")
  phrase = f"{first} {word}"
  if name == "top" and person.attributes["pattern"] != "plain" and rng.random() < 0.85:
    second = _colour(rng, person, "pattern_colour")
    phrase = {
      "stripes": f"{first} and {second} striped {word}",
      "vertical": f"{first} {word} with vertical {second} stripes",
      "checks": f"{first} and {second} checkered {word}",
      "dots": f"{first} {word} with {second} dots",
      "logo": f"{first} {word} with a {second} logo",
    }[person.attributes["pattern"]]
  return with_article(rng, phrase, kind)


def _colour(rng, person, name) -> str:
  colour, shade = person.attributes[name], person.shades.get(name)
  if shade and rng.random() < 0.4:
    return SHADE_WORDS[colour, shade][0]
  return colour if rng.random() < 0.5 else choose(rng, COLOUR_WORDS.get(colour, (colour,)))


def _and(nouns) -> str:
  return " and ".join(nouns) if len(nouns) < 3 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"
