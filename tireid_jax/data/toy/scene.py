"""Background and foreground of a person: walls, ground, clutter, passers-by and obstacles."""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tireid_jax.data.toy.attributes import Person, make_person, pick, sample_attributes
from tireid_jax.data.toy.canvas import Canvas, Pen
from tireid_jax.data.toy.figure import draw_person
from tireid_jax.data.toy.palette import COLOURS, RGB, mix

# Logical size of an image in pixels.
WIDTH, HEIGHT = 64, 160

# Colours of wall and ground by scene, their boundary as a fraction of the height, and the possible clutter.
SCENES: dict[str, tuple[RGB, RGB, float, tuple[str, ...]]] = {
  "street": ((168, 160, 150), (118, 118, 120), 0.62, ("windows", "car", "pole", "kerb", "sign")),
  "campus": ((186, 178, 160), (158, 152, 142), 0.58, ("tree", "windows", "tiles", "bench", "bush")),
  "park": ((140, 172, 138), (142, 158, 110), 0.5, ("tree", "tree", "bush", "path", "bench")),
  "mall": ((206, 200, 190), (190, 182, 172), 0.66, ("shelves", "tiles", "sign", "glass")),
  "station": ((170, 178, 184), (142, 144, 148), 0.6, ("tiles", "pole", "sign", "glass", "band")),
  "corridor": ((182, 188, 174), (126, 128, 116), 0.64, ("door", "tiles", "band", "sign")),
}


def draw_backdrop(rng: np.random.Generator, scene: str) -> Image.Image:
  """Returns an out-of-focus background of WIDTH x HEIGHT."""
  wall, ground, meet, clutter = SCENES[scene]
  tone = (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
  strength = 0.22 * rng.random()
  wall, ground = mix(wall, tone, strength), mix(ground, tone, strength * 0.8)
  picture = Image.new("RGB", (WIDTH, HEIGHT), wall)
  ink = ImageDraw.Draw(picture)
  line = HEIGHT * (meet + rng.uniform(-0.08, 0.08))
  ink.rectangle((0, line, WIDTH, HEIGHT), fill=ground)
  kinds = [pick(rng, clutter) for _ in range(2 + int(rng.random() * 3))]
  for kind in sorted(kinds, key=lambda name: name not in ("windows", "tiles", "path", "band", "kerb")):
    CLUTTER[kind](ink, rng, line, wall, ground)
  return picture


def _windows(ink, rng, line, wall, ground):
  step, glass = rng.uniform(14, 22), mix(wall, (70, 90, 116), 0.55)
  left = rng.uniform(-step, 0)
  for column in range(6):
    for row in range(4):
      x, y = left + column * step, -6 + row * step * 1.5
      if y + step < line - 6:
        ink.rectangle((x, y, x + step * 0.62, y + step), fill=glass)


def _tiles(ink, rng, line, wall, ground):
  rgb, vanish = mix(ground, (0, 0, 0), 0.2), rng.uniform(10, 54)
  for k in range(-8, 9):
    ink.line((vanish + k * 5, line, vanish + k * 26, HEIGHT), fill=rgb)
  for depth in (0.06, 0.16, 0.32, 0.56, 0.86):
    y = line + (HEIGHT - line) * depth
    ink.line((0, y, WIDTH, y), fill=rgb)


def _kerb(ink, rng, line, wall, ground):
  y = line + rng.uniform(6, 20)
  ink.rectangle((0, y, WIDTH, y + 3), fill=mix(ground, (255, 255, 255), 0.4))
  ink.rectangle((0, line, WIDTH, y), fill=mix(ground, (0, 0, 0), 0.2))


def _path(ink, rng, line, wall, ground):
  x = rng.uniform(10, 54)
  ink.polygon(
    [(x - 6, line), (x + 6, line), (x + 60, HEIGHT), (x - 60, HEIGHT)], fill=mix(ground, (216, 202, 176), 0.7)
  )


def _band(ink, rng, line, wall, ground):
  y = rng.uniform(0.25, 0.8) * line
  ink.rectangle((0, y, WIDTH, y + rng.uniform(3, 9)), fill=mix(wall, _any_colour(rng), 0.5))


def _tree(ink, rng, line, wall, ground):
  x, y, size = rng.uniform(-4, WIDTH + 4), line * rng.uniform(0.2, 0.45), rng.uniform(13, 24)
  ink.rectangle((x - 2, y, x + 2, line + 4), fill=(92, 74, 58))
  leaf = mix((64, 112, 58), (124, 150, 60), rng.random())
  for dx, dy in ((0, 0), (-0.7, 0.2), (0.7, 0.25), (-0.2, -0.6), (0.4, -0.4)):
    cx, cy = x + dx * size, y + dy * size
    ink.ellipse(
      (cx - size * 0.7, cy - size * 0.6, cx + size * 0.7, cy + size * 0.6),
      fill=mix(leaf, (0, 0, 0), 0.2 * rng.random()),
    )


def _bush(ink, rng, line, wall, ground):
  leaf = mix((58, 98, 52), (110, 132, 66), rng.random())
  for _ in range(5):
    x, r = rng.uniform(0, WIDTH), rng.uniform(6, 13)
    ink.ellipse((x - r, line - r, x + r, line + r * 0.6), fill=mix(leaf, (0, 0, 0), 0.2 * rng.random()))


def _car(ink, rng, line, wall, ground):
  rgb, x, y = mix(_any_colour(rng), (120, 120, 124), 0.35), rng.uniform(-30, 40), line + rng.uniform(2, 14)
  ink.rounded_rectangle((x, y - 14, x + 54, y), 5, fill=rgb)
  ink.polygon([(x + 9, y - 13), (x + 16, y - 23), (x + 38, y - 23), (x + 46, y - 13)], fill=mix(rgb, (40, 50, 60), 0.6))
  for wheel in (11, 42):
    ink.ellipse((x + wheel - 5, y - 5, x + wheel + 5, y + 5), fill=(40, 40, 42))


def _pole(ink, rng, line, wall, ground):
  x, w = rng.uniform(2, WIDTH - 2), rng.uniform(1.5, 4)
  ink.rectangle((x - w, 0, x + w, line + rng.uniform(6, 30)), fill=mix(wall, (60, 62, 66), 0.6))


def _sign(ink, rng, line, wall, ground):
  x, y, w, h = rng.uniform(-6, 50), rng.uniform(0.04, 0.5) * line, rng.uniform(9, 20), rng.uniform(9, 22)
  rgb = mix(_any_colour(rng), wall, 0.3)
  ink.rectangle((x, y, x + w, y + h), fill=rgb)
  ink.rectangle((x + 2, y + h * 0.4, x + w - 2, y + h * 0.55), fill=mix(rgb, (255, 255, 255), 0.6))


def _shelves(ink, rng, line, wall, ground):
  x, w = rng.uniform(-20, 40), rng.uniform(22, 40)
  ink.rectangle((x, line * 0.15, x + w, line + 4), fill=mix(wall, (90, 76, 64), 0.6))
  for row in range(5):
    y = line * (0.17 + row * 0.17)
    for column in range(int(w / 6)):
      ink.rectangle(
        (x + 2 + column * 6, y + 3, x + 6 + column * 6, y + line * 0.13), fill=mix(_any_colour(rng), wall, 0.45)
      )


def _glass(ink, rng, line, wall, ground):
  x, w = rng.uniform(-10, 40), rng.uniform(18, 34)
  ink.rectangle((x, 0, x + w, line + 2), fill=mix(wall, (150, 186, 204), 0.5))
  ink.line((x + w / 2, 0, x + w / 2, line), fill=mix(wall, (60, 60, 64), 0.5), width=2)


def _door(ink, rng, line, wall, ground):
  x = rng.uniform(-8, 46)
  rgb = mix(wall, (104, 76, 54), rng.uniform(0.4, 0.9))
  ink.rectangle((x, line * 0.12, x + 24, line + 3), fill=rgb)
  ink.rectangle((x + 3, line * 0.18, x + 21, line * 0.5), outline=mix(rgb, (0, 0, 0), 0.3))


def _bench(ink, rng, line, wall, ground):
  x, y, rgb = rng.uniform(-14, 44), line + rng.uniform(4, 16), (120, 90, 62)
  ink.rectangle((x, y - 9, x + 32, y - 6), fill=rgb)
  ink.rectangle((x, y - 3, x + 32, y), fill=rgb)
  for leg in (3, 28):
    ink.rectangle((x + leg, y, x + leg + 2, y + 7), fill=(60, 60, 62))


CLUTTER: dict[str, Any] = {
  "windows": _windows,
  "tiles": _tiles,
  "kerb": _kerb,
  "path": _path,
  "band": _band,
  "tree": _tree,
  "bush": _bush,
  "car": _car,
  "pole": _pole,
  "sign": _sign,
  "shelves": _shelves,
  "glass": _glass,
  "door": _door,
  "bench": _bench,
}


def _any_colour(rng) -> RGB:
  return COLOURS[pick(rng, tuple(COLOURS))]


def passer_by(rng: np.random.Generator) -> Person:
  """Samples a person without an identity."""
  attributes = sample_attributes(rng)
  for name in ("held", "held_colour"):
    attributes.pop(name, None)
  return make_person(rng, attributes)


def draw_passer_by(canvas: Canvas, rng: np.random.Generator, *, before: bool, light: int) -> None:
  """Draws another person: small in the background, or (`before`) large in the foreground and cropped by the image."""
  side = 1 if rng.random() < 0.5 else -1
  view = pick(rng, ("front", "back", "left", "right"))
  height = HEIGHT * (rng.uniform(0.88, 1.0) if before else rng.uniform(0.5, 0.72))
  x = WIDTH / 2 + side * (rng.uniform(30, 38) if before else rng.uniform(15, 32))
  y = HEIGHT * (rng.uniform(0.06, 0.12) if before else rng.uniform(0.16, 0.24))
  pen = Pen(canvas, x, y, height, mirror=view == "left")
  with canvas.uncounted():
    draw_person(pen, passer_by(rng), view, phase=rng.uniform(0, 6.28), stride=rng.uniform(0.2, 1), light=light)


def draw_obstacle(canvas: Canvas, rng: np.random.Generator, light: int) -> None:
  """Draws an occluder: a post, a bicycle, a bush, a box or another person."""
  kind = pick(rng, {"post": 0.24, "bicycle": 0.2, "bush": 0.16, "box": 0.16, "person": 0.24})
  if kind == "person":
    draw_passer_by(canvas, rng, before=True, light=light)
  else:
    OBSTACLES[kind](canvas, rng)


def _post(canvas, rng):
  x, w = WIDTH / 2 + rng.uniform(-17, 17), rng.uniform(2.5, 6)
  rgb = mix((96, 98, 102), _any_colour(rng), 0.15)
  for left, tone in ((x - w, rgb), (x + w * 0.3, mix(rgb, (0, 0, 0), 0.25))):
    canvas.polygon(_box(left, -2, x + w), tone, "other")


def _bicycle(canvas, rng):
  rgb, x, y = _any_colour(rng), rng.uniform(8, 56), rng.uniform(134, 146)
  rear, front, crank, saddle, bar = (x - 19, y), (x + 19, y), (x - 2, y), (x - 8, y - 30), (x + 13, y - 34)
  for hub_x, hub_y in (rear, front):
    angles = [k * math.pi / 9 for k in range(19)]
    canvas.line([(hub_x + 15 * math.cos(a), hub_y + 15 * math.sin(a)) for a in angles], 2.2, (38, 38, 42), "other")
  for start, end in ((rear, crank), (crank, saddle), (rear, saddle), (crank, bar), (saddle, bar), (bar, front)):
    canvas.line([start, end], 2.2, rgb, "other")
  canvas.line([(x - 13, y - 31), (x - 3, y - 31)], 3, (40, 40, 42), "other")


def _hedge(canvas, rng):
  leaf, base = mix((52, 92, 48), (104, 128, 62), rng.random()), rng.uniform(122, 142)
  for k in range(9):
    x, r = k * 8 + rng.uniform(-4, 4), rng.uniform(9, 17)
    rgb = mix(leaf, (0, 0, 0), 0.25 * rng.random())
    canvas.ellipse((x - r, base - r * 0.6, x + r, HEIGHT + r), rgb, "other", None)


def _crate(canvas, rng):
  rgb = mix(_any_colour(rng), (150, 142, 130), 0.5)
  left, top = rng.uniform(-12, 30), rng.uniform(112, 136)
  right = left + rng.uniform(28, 48)
  canvas.polygon(_box(left, top, right), rgb, "other", mix(rgb, (0, 0, 0), 0.3))
  canvas.line([(left, top + 8), (right, top + 8)], 1.5, mix(rgb, (0, 0, 0), 0.25), "other")


def _box(left, top, right):
  """Returns a rectangle that extends below the image."""
  return [(left, top), (right, top), (right, HEIGHT + 2), (left, HEIGHT + 2)]


OBSTACLES: dict[str, Any] = {"post": _post, "bicycle": _bicycle, "bush": _hedge, "box": _crate}
