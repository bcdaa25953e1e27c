"""Persons in the drawing styles and places of the pre-training pool, instead of in front of cameras."""

import io
import math

import numpy as np
from PIL import Image

from tireid_jax.data.toy.attributes import Person, pick
from tireid_jax.data.toy.camera import VIEWS, visible_attributes
from tireid_jax.data.toy.canvas import Canvas, Pen
from tireid_jax.data.toy.figure import draw_person
from tireid_jax.data.toy.palette import RGB
from tireid_jax.data.toy.pool.places import PLACES, draw_place
from tireid_jax.data.toy.pool.styles import StyledCanvas
from tireid_jax.data.toy.scene import HEIGHT, WIDTH

# Styles that show colours and patterns, but for "flat", that of ToyPEDES. The images of a person have each in turn.
STYLES = ("cutout", "bold", "sketch", "pixels", "soft", "grain")
GROUNDS: tuple[RGB, ...] = ((250, 250, 250), (206, 208, 212), (232, 220, 190), (176, 208, 236), (190, 222, 178))
PLACE_PROBABILITY = 0.5
QUALITY = 90


def illustrate(rng: np.random.Generator, person: Person, style: str) -> tuple[bytes, str, frozenset[str]]:
  """Returns (JPEG file, view, names of the attributes visible in it), as `camera.photograph`; nothing is occluded."""
  view = pick(rng, VIEWS)
  is_in_place = rng.random() < PLACE_PROBABILITY
  backdrop = (
    draw_place(pick(rng, tuple(PLACES)), rng, WIDTH, HEIGHT)
    if is_in_place
    else Image.new("RGB", (WIDTH, HEIGHT), GROUNDS[int(rng.random() * len(GROUNDS))])
  )
  top, bottom = rng.uniform(3, 11), rng.uniform(150, 158)
  if person.attributes.get("held") == "umbrella":
    top += 17
  x, breadth = WIDTH / 2 + rng.uniform(-4, 4), rng.uniform(0.98, 1.12)
  phase, stride = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.9)
  styled = StyledCanvas(backdrop, WIDTH, HEIGHT, style, rng)
  # A styled canvas has no segmentation map, so the same figure is also drawn on a plain one.
  plain = Canvas(backdrop, WIDTH, HEIGHT)
  for canvas in (styled, plain):
    pen = Pen(canvas, x, top, bottom - top, mirror=view == "left", breadth=breadth)
    draw_person(pen, person, view, phase=phase, stride=stride, light=1)
  areas = plain.areas()
  file = io.BytesIO()
  Image.fromarray(styled.finish(WIDTH, HEIGHT)).save(file, "JPEG", quality=QUALITY)
  return file.getvalue(), view, visible_attributes(person, view, areas, areas)
