"""Places behind the objects and persons of the pool: two or three bands of colour with a few details."""

# ruff: noqa: E501  one drawing per line

import numpy as np
from PIL import Image, ImageDraw

from tireid_jax.data.toy.palette import RGB, mix

# Name: (captions, colour above, colour below, their boundary as a fraction of the height, detail).
PLACES: dict[str, tuple[tuple[str, ...], RGB, RGB, float, str]] = {
  "beach": (("on the beach", "at the seaside", "on the sand by the ocean", "on a sandy shore"),
            (120, 196, 236), (234, 212, 160), 0.55, "sea"),
  "sea": (("in the sea", "on the water", "in the ocean", "on a lake"), (170, 214, 240), (44, 110, 170), 0.5, "waves"),
  "field": (("on the grass", "in a meadow", "on a lawn", "in a green field", "on a farm"),
            (150, 206, 240), (110, 172, 80), 0.5, "grass"),
  "desert": (("in the desert", "on sand dunes", "in a dry landscape"), (246, 214, 150), (222, 168, 96), 0.52, "dunes"),
  "snow": (("in the snow", "in winter", "on a snowy day", "on the ice"), (206, 220, 234), (244, 248, 252), 0.5, "flakes"),
  "night": (("at night", "under the stars", "in the dark", "under a starry sky", "after midnight"),
            (24, 28, 60), (40, 46, 56), 0.66, "stars"),
  "sunset": (("at sunset", "in the evening", "at dusk", "at dawn"), (246, 150, 90), (110, 70, 96), 0.6, "disc"),
  "rain": (("in the rain", "on a rainy day", "in stormy weather", "in wet weather"),
           (140, 150, 164), (96, 102, 112), 0.6, "rain"),
  "forest": (("in the forest", "in the woods", "among trees", "in a jungle"), (120, 160, 110), (84, 96, 56), 0.62, "trunks"),
  "city": (("in the city", "downtown", "in an urban street", "in front of buildings", "in town"),
           (186, 206, 224), (120, 120, 124), 0.68, "blocks"),
  "road": (("on the road", "on a highway", "on an asphalt street", "in the lane"), (176, 212, 236), (92, 92, 98), 0.5, "lane"),
  "room": (("in a room", "indoors", "in the living room", "on the floor at home", "in an apartment"),
           (230, 214, 190), (164, 120, 80), 0.68, "picture"),
  "kitchen": (("in the kitchen", "on a tiled floor", "in a bathroom"), (210, 232, 232), (236, 236, 230), 0.6, "tiles"),
  "brick wall": (("in front of a brick wall", "against a brick wall", "in an alley"), (176, 92, 70), (150, 146, 140), 0.74, "bricks"),
  "stage": (("on a stage", "in a theater", "in front of a curtain"), (150, 30, 44), (110, 74, 46), 0.74, "curtain"),
}  # fmt: skip


def draw_place(name: str, rng: np.random.Generator, width: int, height: int) -> Image.Image:
  """Returns a picture of the place, `width` x `height` pixels."""
  _, above, below, meet, detail = PLACES[name]
  line = round(height * (meet + rng.uniform(-0.06, 0.06)))
  picture = Image.new("RGB", (width, height), mix(above, (255, 255, 255), 0.12 * rng.random()))
  ink = ImageDraw.Draw(picture)
  ink.rectangle((0, line, width, height), fill=mix(below, (0, 0, 0), 0.12 * rng.random()))
  _DETAILS[detail](ink, rng, width, height, line)
  return picture


def _sea(ink, rng, w, h, line):
  ink.rectangle((0, line - h // 8, w, line), fill=(50, 120, 190))


def _waves(ink, rng, w, h, line):
  for y in range(line + 3, h, 7):
    for x in range(int(rng.uniform(-8, 0)), w, 12):
      ink.arc((x, y, x + 8, y + 5), 180, 360, fill=(150, 196, 226))


def _grass(ink, rng, w, h, line):
  for x, y in rng.uniform((0, line), (w, h), (14, 2)).tolist():
    ink.line((x, y, x + 1, y - 3), fill=(66, 126, 50))


def _dunes(ink, rng, w, h, line):
  x = rng.uniform(0, w)
  ink.ellipse((x - w, line - h * 0.06, x + w * 0.4, line + h * 0.3), fill=(232, 184, 112))


def _dots(colour, reach):
  def paint(ink, rng, w, h, line):
    for x, y in rng.uniform((0, 0), (w, line if reach == "sky" else h), (22, 2)).tolist():
      ink.rectangle((x, y, x + 0.8, y + 0.8), fill=colour)

  return paint


def _disc(ink, rng, w, h, line):
  x = rng.uniform(0.2, 0.8) * w
  ink.ellipse((x - w * 0.2, line - w * 0.2, x + w * 0.2, line + w * 0.2), fill=(252, 220, 110))
  ink.rectangle((0, line, w, h), fill=(110, 70, 96))


def _rain(ink, rng, w, h, line):
  for x, y in rng.uniform((0, 0), (w, h), (26, 2)).tolist():
    ink.line((x, y, x - 1.5, y + 5), fill=(196, 208, 222))


def _trunks(ink, rng, w, h, line):
  for x in rng.uniform(0, w, 6).tolist():
    ink.rectangle((x - 2, 0, x + 2, line + 3), fill=(88, 66, 46))
  ink.rectangle((0, 0, w, h * 0.12), fill=(52, 104, 52))


def _blocks(ink, rng, w, h, line):
  x = 0.0
  while x < w:
    wide, top = rng.uniform(0.14, 0.3) * w, rng.uniform(0.1, 0.42) * h
    ink.rectangle((x, top, x + wide, line), fill=mix((120, 128, 142), (176, 150, 130), rng.random()))
    for y in range(int(top) + 3, line - 4, 6):
      ink.line((x + 2, y, x + wide - 2, y), fill=(214, 222, 170))
    x += wide + 1


def _lane(ink, rng, w, h, line):
  x = w * rng.uniform(0.35, 0.65)
  for y in range(line, h, 8):
    ink.rectangle((x - 1, y, x + 1, y + 4), fill=(240, 236, 220))


def _picture(ink, rng, w, h, line):
  x, y = rng.uniform(0.05, 0.6) * w, rng.uniform(0.06, 0.2) * h
  ink.rectangle((x, y, x + w * 0.3, y + w * 0.24), fill=(150, 190, 214), outline=(120, 84, 50))


def _tiles(ink, rng, w, h, line):
  for x in range(0, w, 8):
    ink.line((x, line, x, h), fill=(184, 196, 200))
  for y in range(line, h, 8):
    ink.line((0, y, w, y), fill=(184, 196, 200))


def _bricks(ink, rng, w, h, line):
  for row, y in enumerate(range(0, line, 6)):
    ink.line((0, y, w, y), fill=(208, 176, 160))
    for x in range(6 * (row % 2), w, 12):
      ink.line((x, y, x, min(y + 6, line)), fill=(208, 176, 160))


def _curtain(ink, rng, w, h, line):
  for x in range(int(rng.uniform(-6, 0)), w, 7):
    ink.rectangle((x, 0, x + 2, line), fill=(116, 18, 32))


_DETAILS = {
  "sea": _sea,
  "waves": _waves,
  "grass": _grass,
  "dunes": _dunes,
  "flakes": _dots((255, 255, 255), "all"),
  "stars": _dots((250, 246, 200), "sky"),
  "disc": _disc,
  "rain": _rain,
  "trunks": _trunks,
  "blocks": _blocks,
  "lane": _lane,
  "picture": _picture,
  "tiles": _tiles,
  "bricks": _bricks,
  "curtain": _curtain,
}
