"""Entries of the pool: what a picture shows, as JSON data, and the picture itself."""

# ruff: noqa: E501  one table row per line

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tireid_jax.data.toy.attributes import Person, make_person, pick, sample_attributes
from tireid_jax.data.toy.canvas import Pen
from tireid_jax.data.toy.figure import draw_person
from tireid_jax.data.toy.palette import luma
from tireid_jax.data.toy.pool.doll import draw_doll
from tireid_jax.data.toy.pool.drawings import DRAWINGS, draw, has_colour
from tireid_jax.data.toy.pool.places import PLACES, draw_place
from tireid_jax.data.toy.pool.styles import COLOURLESS, STYLES, StyledCanvas
from tireid_jax.data.toy.pool.vocabulary import COLOUR_TABLE, FLAGS, NUMBERS, POSITIONS, RELATIONS

Entry = dict[str, Any]

KINDS = {"person": 0.34, "two": 0.05, "single": 0.24, "position": 0.06, "count": 0.09, "relation": 0.17, "flag": 0.02,
         "letter": 0.03}  # fmt: skip
MIN_CONTRAST = 60.0
GROUNDS = ("white", "light gray", "beige", "light blue", "yellow", "light green", "pink", "lavender", "navy", "black",
           "teal", "orange", "dark gray")  # fmt: skip
# Centres of the objects in a picture with several, as fractions of width and height, and their size by count.
GRIDS = {2: [(0.5, 0.26), (0.5, 0.74)], 3: [(0.5, 0.18), (0.5, 0.5), (0.5, 0.82)],
         4: [(x, y) for y in (0.3, 0.7) for x in (0.27, 0.73)], 5: [(0.27, 0.2), (0.73, 0.2), (0.5, 0.5), (0.27, 0.8), (0.73, 0.8)],
         6: [(x, y) for y in (0.18, 0.5, 0.82) for x in (0.27, 0.73)], 8: [(x, y) for y in (0.14, 0.38, 0.62, 0.86) for x in (0.27, 0.73)]}  # fmt: skip
GRID_SIZES = {2: 0.62, 3: 0.5, 4: 0.42, 5: 0.4, 6: 0.4, 8: 0.36}
PLACE_OF = {"top": (0.5, 0.18), "bottom": (0.5, 0.82), "middle": (0.5, 0.5), "top left": (0.26, 0.17),
            "top right": (0.74, 0.17), "bottom left": (0.26, 0.83), "bottom right": (0.74, 0.83)}  # fmt: skip
PAIRS = {"left": ((0.27, 0.5), (0.74, 0.5)), "above": ((0.5, 0.27), (0.5, 0.74))}


def sample_entry(rng: np.random.Generator) -> Entry:
  """Samples what a picture shows: kind, style, ground, objects and persons, as JSON data."""
  kind = pick(rng, KINDS)
  entry: Entry = {"kind": kind, "style": _style(rng), "detail": int(rng.integers(2**31)), "ground": pick(rng, GROUNDS)}
  if (
    kind in ("person", "two", "single", "relation")
    and rng.random() < 0.4
    and entry["style"] not in ("lines", "neon", "silhouette")
  ):
    entry["ground"], entry["place"] = "gray", pick(rng, tuple(PLACES))
  if entry["style"] == "neon":
    entry["ground"] = "black"
  elif entry["style"] == "silhouette":
    entry["ground"] = pick(rng, ("white", "light gray", "yellow", "light blue"))
  if kind in ("person", "two"):
    num = 1 if kind == "person" else 2
    entry["people"] = [_person(rng, entry["style"]) for _ in range(num)]
    if num == 1 and rng.random() < 0.12:
      entry["things"] = [_thing(rng, entry, x=pick(rng, ("0.2", "0.8")), y=0.8, size=0.36)]
      entry["things"][0]["x"] = float(entry["things"][0]["x"])
  elif kind == "single":
    entry["things"] = [
      _thing(
        rng, entry, x=0.5 + rng.uniform(-0.05, 0.05), y=0.5 + rng.uniform(-0.12, 0.12), size=rng.uniform(0.66, 0.92)
      )
    ]
  elif kind == "position":
    entry["position"] = pick(rng, tuple(POSITIONS))
    x, y = PLACE_OF[entry["position"]]
    entry["things"] = [_thing(rng, entry, x=x, y=y, size=rng.uniform(0.36, 0.46))]
  elif kind == "count":
    count = int(pick(rng, tuple(map(str, NUMBERS))))
    first = _thing(rng, entry, x=0, y=0, size=GRID_SIZES[count])
    entry["things"] = [{**first, "x": x, "y": y} for x, y in GRIDS[count]]
  elif kind == "relation":
    relation = pick(rng, tuple(RELATIONS))
    forward = relation if relation in PAIRS else {"right": "left", "below": "above"}[relation]
    centres = PAIRS[forward] if relation in PAIRS else PAIRS[forward][::-1]
    size = 0.42 if forward == "left" else 0.6
    entry["relation"] = relation
    entry["things"] = [_thing(rng, entry, x=x, y=y, size=size) for x, y in centres]
    while entry["things"][1]["name"] == entry["things"][0]["name"]:
      entry["things"][1] = _thing(rng, entry, x=centres[1][0], y=centres[1][1], size=size)
  elif kind == "flag":
    entry["country"], entry["style"] = pick(rng, tuple(FLAGS)), "flat"
  else:
    entry["letter"] = pick(rng, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    entry["style"] = "flat"
    entry["colour"] = _standing_out(rng, entry["ground"])
  return entry


def render(attributes: Entry, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
  """Returns u8[h, w, 3], the picture of an entry of `sample_entry`.

  Args:
    attributes: the entry; the same entry gives the same pixels.
    size: (h, w).
  """
  h, w = size
  rng = np.random.default_rng(attributes["detail"])
  place = attributes.get("place")
  ground = COLOUR_TABLE[attributes["ground"]][1]
  backdrop = draw_place(place, rng, w, h) if place else Image.new("RGB", (w, h), ground)
  canvas = StyledCanvas(backdrop, w, h, attributes["style"], rng)
  if "letter" in attributes:
    canvas.text(attributes["letter"], COLOUR_TABLE[attributes["colour"]][1], 0.9 * w)
  if "country" in attributes:
    _flag(canvas, attributes["country"], w, h)
  people = attributes.get("people", [])
  for number, data in enumerate(people):
    beside = attributes["things"][0]["x"] if attributes.get("things") else 0.5
    x = 0.5 + (0.5 - beside) * 0.35 if len(people) == 1 else (0.27, 0.75)[number]
    _figure(canvas, data, rng, x * w, w, h, len(people))
  for thing in attributes.get("things", []):
    pen = Pen(canvas, thing["x"] * w, thing["y"] * h, thing["size"] * w, mirror=thing["mirror"])
    texture = (thing["pattern"], COLOUR_TABLE[thing["second"]][1]) if thing.get("pattern") else None
    draw(pen, thing["name"], COLOUR_TABLE[thing.get("colour", "gray")][1], texture)
  return canvas.finish(w, h)


def person_of(data: dict[str, Any]) -> Person:
  """Returns the Person that an entry stores."""
  paint = {name: tuple(rgb) for name, rgb in data["paint"].items()}
  return Person(data["attributes"], data["shades"], paint, data["bag_side"])  # type: ignore[arg-type]


def _figure(canvas, data, rng, x, w, h, count):
  alone, is_doll = count == 1, data["is_doll"]
  height = min(h * (0.9 if alone else 0.8), w * (1.7 if is_doll else 1.9) * (1 if alone else 0.8)) * rng.uniform(0.9, 1)
  breadth = (min(data["breadth"], 1.15) if is_doll else data["breadth"]) * (1 if alone else 0.85)
  pen = Pen(canvas, x, h * 0.97 - height, height, breadth=breadth, mirror=data["view"] == "left")
  if is_doll:
    draw_doll(pen, person_of(data), data["view"])
  else:
    draw_person(pen, person_of(data), data["view"], phase=data["phase"], stride=data["stride"], light=1)


def _flag(canvas, country, w, h):
  _, direction, colours = FLAGS[country]
  bands = [COLOUR_TABLE[name][1] for name in colours.split()]
  left, top, wide, tall = 0.08 * w, 0.5 * h - 0.29 * w, 0.86 * w, 0.58 * w
  canvas.line([(left, top - 0.1 * w), (left, h)], 0.04 * w, (90, 90, 96), None)
  for number, rgb in enumerate(bands):
    a, b = number / len(bands), (number + 1) / len(bands)
    x0, x1, y0, y1 = (a, b, 0, 1) if direction == "v" else (0, 1, a, b)
    box = [(left + x * wide, top + y * tall) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    canvas.polygon(box, rgb, None, rgb)


def _style(rng):
  return pick(rng, {name: weight for name, (weight, _) in STYLES.items()})


def _person(rng, style):
  person = make_person(rng, sample_attributes(rng))
  data = dataclasses.asdict(person)
  data["paint"] = {name: list(rgb) for name, rgb in person.paint.items()}
  data["view"] = pick(rng, {"front": 0.55, "back": 0.21, "left": 0.12, "right": 0.12})
  return data | {
    # A flat figure would look like those of ToyPEDES.
    "is_doll": rng.random() < 0.5 or style == "flat",
    "breadth": round(rng.uniform(1.0, 1.35), 3),
    "phase": round(rng.uniform(0, 2 * math.pi), 3),
    "stride": round(rng.uniform(0, 0.9), 3),
  }


def _thing(rng, entry, *, x, y, size):
  thing = {"name": pick(rng, tuple(DRAWINGS)), "x": x, "y": y, "size": round(size, 3), "mirror": False}
  if not has_colour(thing["name"]) or entry["style"] in COLOURLESS:
    return thing
  thing["colour"] = _standing_out(rng, entry["ground"])
  if size > 0.5 and rng.random() < 0.3 and entry["style"] in ("flat", "cutout", "bold", "soft"):
    thing["pattern"] = pick(rng, ("stripes", "vertical", "checks", "dots"))
    thing["second"] = _standing_out(rng, thing["colour"])
  return thing


def _standing_out(rng, ground):
  """Samples a colour that differs visibly in brightness from `ground`."""
  level = luma(COLOUR_TABLE[ground][1])
  return pick(rng, tuple(name for name, (_, rgb) in COLOUR_TABLE.items() if abs(luma(rgb) - level) >= MIN_CONTRAST))
