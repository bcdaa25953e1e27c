"""Cameras: their scenes and image degradations, and which attributes of a person an image shows."""

import dataclasses
import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from tireid_jax.data.toy.attributes import Person, pick
from tireid_jax.data.toy.canvas import Canvas, Pen
from tireid_jax.data.toy.figure import draw_person
from tireid_jax.data.toy.scene import HEIGHT, WIDTH, draw_backdrop, draw_obstacle, draw_passer_by


@dataclasses.dataclass(frozen=True)
class Camera:
  """The scene and the image degradations of a camera.

  Attributes:
    scene: background, a key of scene.SCENES.
    gains: colour cast, a factor for each of red, green and blue.
    exposure: brightness, 1 neutral.
    contrast: factor around mid grey, 1 neutral.
    blur: radius of the lens blur in pixels, for an image 160 pixels high.
    noise: standard deviation of the sensor noise, of 255.
    height: mean height of its images in pixels.
    quality: mean JPEG quality.
  """

  scene: str
  gains: tuple[float, float, float]
  exposure: float
  contrast: float
  blur: float
  noise: float
  height: int
  quality: int


CAMERAS: dict[str, Camera] = {
  "cam_a": Camera("street", (1.0, 1.0, 1.0), 1.0, 1.0, 0.3, 2.0, 190, 88),
  "cam_b": Camera("mall", (1.07, 1.0, 0.87), 0.96, 0.94, 0.5, 4.0, 160, 78),
  "cam_c": Camera("campus", (1.02, 1.0, 0.96), 1.06, 0.96, 0.4, 2.5, 176, 84),
  "cam_d": Camera("corridor", (0.96, 1.05, 0.91), 0.82, 0.9, 0.6, 5.0, 148, 72),
  "cam_e": Camera("station", (0.91, 0.98, 1.1), 0.9, 0.88, 0.7, 4.0, 140, 74),
  "cam_f": Camera("park", (0.98, 1.04, 0.94), 0.98, 1.0, 0.5, 3.0, 168, 80),
  "cam_g": Camera("street", (1.06, 0.96, 0.9), 0.78, 0.9, 0.8, 5.0, 132, 68),
  "cam_h": Camera("mall", (0.97, 0.99, 1.06), 1.1, 0.84, 0.5, 3.0, 152, 78),
}
VIEWS = {"front": 0.34, "back": 0.3, "left": 0.18, "right": 0.18}
OBSTACLE_PROBABILITY = 0.24
PASSER_BY_PROBABILITY = 0.25

# The part that shows each attribute, and the minimum areas of that part, in pixels of a 64 x 160 image, for its colour
# and its kind to be recognisable. For the kind, MIN_VISIBLE_FRACTION of the unoccluded area must be visible too.
SEEN_BY = {
  "hair": ("hair", 30, 30),
  "hat": ("hat", 35, 45),
  "top": ("top", 180, 260),
  "under": ("under", 25, 25),
  "bottom": ("bottom", 110, 160),
  "shoes": ("shoes", 26, 34),
  "bag": ("bag", 60, 80),
  "held": ("held", 18, 22),
}
MIN_VISIBLE_FRACTION = 0.6
MIN_LOGO, MIN_TAIL, MIN_HEAD = 16, 12, 60


class Shot(NamedTuple):
  """A person in front of a camera, before the image is taken: the painted canvas and what it shows."""

  canvas: Canvas
  view: str
  light: int
  visible: frozenset[str]


def photograph(rng: np.random.Generator, person: Person, camera: Camera) -> tuple[bytes, str, frozenset[str]]:
  """Returns (JPEG file, view, names of the attributes visible in it)."""
  shot = paint(rng, person, camera)
  return expose(rng, shot.canvas.picture, camera, shot.light), shot.view, shot.visible


def paint(rng: np.random.Generator, person: Person, camera: Camera) -> Shot:
  """Returns the Shot that `photograph` takes an image of."""
  view = pick(rng, VIEWS)
  light = 1 if rng.random() < 0.5 else -1
  canvas = Canvas(draw_backdrop(rng, camera.scene), WIDTH, HEIGHT)
  if rng.random() < PASSER_BY_PROBABILITY:
    draw_passer_by(canvas, rng, before=False, light=light)
  pen = _frame(canvas, rng, person, view)
  _cast_shadow(canvas, pen, light)
  phase, stride = rng.uniform(0, 2 * math.pi), pick(rng, {"0.1": 0.3, "0.6": 0.35, "1.0": 0.35})
  draw_person(pen, person, view, phase=phase, stride=float(stride), light=light)
  unhidden = canvas.areas()
  if rng.random() < OBSTACLE_PROBABILITY:
    draw_obstacle(canvas, rng, light)
  return Shot(canvas, view, light, visible_attributes(person, view, canvas.areas(), unhidden))


def _frame(canvas, rng, person, view):
  """Returns a pen for a person slightly off the centre; an open umbrella needs space above the head."""
  top, bottom = rng.uniform(3, 11), rng.uniform(150, 158)
  if person.attributes.get("held") == "umbrella":
    top += 17
  if rng.random() < 0.08:
    bottom += rng.uniform(14, 40)
  x = WIDTH / 2 + rng.uniform(-4, 4)
  return Pen(canvas, x, top, bottom - top, mirror=view == "left", breadth=rng.uniform(0.98, 1.12))


def _cast_shadow(canvas, pen, light):
  x, y = pen.x - light * 0.06 * pen.height, pen.y + 0.98 * pen.height
  w, h = 0.2 * pen.height, 0.022 * pen.height
  ring = [(x + w * math.cos(k * math.pi / 8), y + h * math.sin(k * math.pi / 8)) for k in range(16)]
  canvas.blend(ring, (0, 0, 0), 0.3)


def visible_attributes(person: Person, view: str, areas: dict[str, int], unhidden: dict[str, int]) -> frozenset[str]:
  """Returns the recognisable attributes, from the area of each part with and without (`unhidden`) the occluder."""
  worn, seen = person.attributes, set()
  for name, (part, for_colour, for_kind) in SEEN_BY.items():
    if areas[part] >= for_colour:
      seen.add(f"{name}_colour")
    if areas[part] >= for_kind and areas[part] >= MIN_VISIBLE_FRACTION * unhidden[part]:
      seen.add(name)
  if "top" in seen:
    seen |= {"gender", "build"}
  # A logo may be on the chest of a top that looks plain from the back or side.
  pattern_shows = "top" in seen and (worn["pattern"] != "plain" or view == "front")
  if areas["logo"] >= MIN_LOGO if worn["pattern"] == "logo" else pattern_shows:
    seen |= {"pattern", "pattern_colour"}
  under_hat = "hat" in worn and worn["hair_length"] in ("short", "bald")
  tail_hidden = worn["hair_length"] == "ponytail" and areas["tail"] < MIN_TAIL
  if areas["face"] + areas["hair"] >= MIN_HEAD and not under_hat and not tail_hidden:
    seen.add("hair_length")
  return frozenset(seen & worn.keys())


def expose(rng: np.random.Generator, picture: Image.Image, camera: Camera, light: int) -> bytes:
  """Returns the JPEG file that `camera` takes of `picture`: resized, unevenly lit, color cast, blurred and noisy."""
  height = round(camera.height * rng.uniform(0.88, 1.14))
  width = round(height * WIDTH / HEIGHT * rng.uniform(0.94, 1.08))
  picture = picture.resize((width, height), Image.Resampling.BOX)
  dim, bright = rng.uniform(0.66, 0.86), 1.0
  corners = (dim, bright, dim * 0.94, bright * 0.94) if light > 0 else (bright, dim, bright * 0.94, dim * 0.94)
  lamp = Image.new("L", (2, 2))
  lamp.putdata([round(255 * value) for value in corners])
  lamp = lamp.resize((width, height), Image.Resampling.BILINEAR)
  picture = ImageChops.multiply(picture, Image.merge("RGB", (lamp, lamp, lamp)))
  exposure = camera.exposure * rng.uniform(0.88, 1.16) / 0.9
  contrast = camera.contrast * rng.uniform(0.92, 1.06)
  gains = [gain * rng.uniform(0.95, 1.05) * exposure for gain in camera.gains]
  picture = picture.point([_level(value, gain, contrast) for gain in gains for value in range(256)])
  blur = camera.blur * rng.uniform(0.5, 1.5) * height / HEIGHT
  picture = picture.filter(ImageFilter.GaussianBlur(blur))
  grain = rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(camera.noise)
  pixels = np.clip(np.asarray(picture, np.float32) + grain, 0, 255).astype(np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=camera.quality + int(rng.integers(-6, 7)))
  return file.getvalue()


def _level(value: int, gain: float, contrast: float) -> int:
  return max(0, min(255, round((value * gain - 128) * contrast + 128)))
