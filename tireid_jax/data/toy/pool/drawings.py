"""Drawings of objects as data: a line of primitives per object, in a unit square around (0, 0), y down.

A drawing is a list of primitives separated by ";". Each is a letter, a colour and numbers:

  e COLOUR x y rx ry        an ellipse
  p COLOUR x y x y ...      a polygon
  s COLOUR x y x y ...      a polygon that is mirrored at x = 0; the points are its right half, from top to bottom
  c COLOUR x y x y ...      a smooth closed curve through the points
  l COLOUR width x y ...    a line

The colour m is that of the object, d and i are darker and lighter variants of it, k, w and c are near-black, near-white
and whichever of them contrasts; others are names in `EXTRA_COLOURS` or the palette. An object without m has a fixed
colour, which captions leave out.
"""

import functools
import math

from tireid_jax.data.toy.canvas import Pen, mirrored, smooth
from tireid_jax.data.toy.palette import COLOURS, RGB, contrast_with, mix
from tireid_jax.data.toy.pool.animals import ANIMALS
from tireid_jax.data.toy.pool.house import HOUSE
from tireid_jax.data.toy.pool.outdoors import OUTDOORS

EXTRA_COLOURS: dict[str, RGB] = {
  "k": (44, 44, 48),
  "w": (244, 244, 240),
  "wood": (150, 104, 62),
  "metal": (172, 178, 186),
  "leaf": (64, 140, 62),
  "glass": (160, 206, 232),
  "gold": (232, 184, 50),
  "skin": (236, 190, 150),
  "flame": (246, 150, 36),
  "snow": (232, 238, 246),
}

Primitive = tuple[str, str, tuple[float, ...]]
DRAWINGS: dict[str, str] = {**HOUSE, **OUTDOORS, **ANIMALS}


@functools.cache
def primitives(name: str) -> tuple[Primitive, ...]:
  """Returns the parsed drawing of the object `name`: (letter, colour, numbers) of each primitive."""
  parts = [part.split() for part in DRAWINGS[name].split(";")]
  return tuple((part[0], part[1], tuple(map(float, part[2:]))) for part in parts)


@functools.cache
def has_colour(name: str) -> bool:
  """Whether the object can have any colour."""
  return any(colour == "m" for _, colour, _ in primitives(name))


def draw(pen: Pen, name: str, rgb: RGB, texture: tuple[str, RGB] | None = None) -> None:
  """Draws the object `name` in colour `rgb`; `texture` is (pattern, second colour) of the parts in that colour."""
  tones = {"m": rgb, "d": mix(rgb, (0, 0, 0), 0.32), "i": mix(rgb, (255, 255, 255), 0.42), "c": contrast_with(rgb)}
  for letter, colour, numbers in primitives(name):
    paint = tones.get(colour) or EXTRA_COLOURS.get(colour) or COLOURS[colour]
    cloth = texture if colour == "m" else None
    if letter == "l":
      pen.line(_pairs(numbers[1:]), numbers[0], paint)
    elif letter == "e" and cloth is None:
      pen.ellipse(numbers[:2], numbers[2], numbers[3], paint)
    else:
      pen.polygon(_outline(letter, numbers), paint, texture=cloth)


def _outline(letter, numbers):
  if letter == "e":
    x, y, rx, ry = numbers
    return [(x + rx * math.cos(a * math.pi / 12), y + ry * math.sin(a * math.pi / 12)) for a in range(24)]
  points = _pairs(numbers)
  if letter == "c":
    return smooth(points)
  return mirrored(points) if letter == "s" else points


def _pairs(numbers):
  return list(zip(numbers[::2], numbers[1::2], strict=True))
