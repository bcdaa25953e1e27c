"""Persons as dolls of circles, boxes and lines: the attributes of ToyPEDES in shapes that its figures do not have."""

from tireid_jax.data.toy.attributes import OPEN_TOPS, Person
from tireid_jax.data.toy.body import BUILD_WIDTH
from tireid_jax.data.toy.canvas import Pen
from tireid_jax.data.toy.palette import contrast_with, mix

BLACK = (30, 30, 34)
CHIN, SHOULDER, WAIST, HIP, KNEE, ANKLE = 0.25, 0.26, 0.5, 0.58, 0.74, 0.92
# Lower end of a top.
HEM = {"coat": 0.72, "dress": 0.74, "vest": 0.56, "shirt": 0.6}
SHORT_SLEEVES, NO_SLEEVES = ("t-shirt",), ("vest",)


def draw_doll(pen: Pen, person: Person, view: str) -> None:
  """Draws a doll in `view`; for "left" the pen must be mirrored, as for `figure.draw_person`."""
  worn, paint = person.attributes, person.paint
  side = view in ("left", "right")
  half = 0.12 * BUILD_WIDTH[worn["build"]] * (0.75 if side else 1.0)
  if worn.get("held") == "umbrella":
    pen.line([(0.2, 0.46), (0.2, 0.0)], 0.014, BLACK)
    pen.polygon(_half_disc(0.08, 0.04, 0.24, 0.12), paint["held_colour"])
  if worn.get("bag") == "backpack" and view != "back":
    pen.polygon(
      _box(-half - (0.1 if side else 0.03), 0.3, half * (0.2 if side else 1) + 0.03, 0.52), paint["bag_colour"]
    )
  _hair_behind(pen, worn, paint, view)
  _legs(pen, worn, paint, half)
  _top(pen, worn, paint, half, view)
  _arms(pen, worn, paint, half, side)
  _head(pen, worn, paint, view)
  _bag(pen, person, half, view)
  _held(pen, worn, paint, half, side)


def _hair_behind(pen, worn, paint, view):
  length = worn["hair_length"]
  if length in ("long", "medium") and view != "back":
    pen.polygon(
      _box(-0.12, 0.1, 0.03 if view != "front" else 0.12, 0.42 if length == "long" else 0.28), paint["hair_colour"]
    )
  elif length == "ponytail":
    pen.ellipse((-0.15, 0.2), 0.045, 0.1, paint["hair_colour"])


def _legs(pen, worn, paint, half):
  kind, shoes = worn.get("bottom"), worn["shoes"]
  for sign in (-1, 1):
    left, right = sorted((sign * half * 0.12, sign * half * 0.82))
    pen.polygon(_box(left, HIP - 0.04, right, ANKLE), paint["skin"])
    if kind in ("trousers", "shorts"):
      pen.polygon(
        _box(left - 0.006, HIP - 0.04, right + 0.006, 0.9 if kind == "trousers" else KNEE - 0.04),
        paint["bottom_colour"],
      )
    _shoe(pen, shoes, (left + right) / 2, right - left, sign, paint)
  if kind in ("trousers", "shorts"):
    pen.polygon(_box(-half, WAIST, half, HIP + 0.04), paint["bottom_colour"])
  elif kind == "skirt":
    pen.polygon([(-half, WAIST), (half, WAIST), (half * 1.5, KNEE), (-half * 1.5, KNEE)], paint["bottom_colour"])


def _shoe(pen, kind, x, width, sign, paint):
  rgb, toe = paint["shoes_colour"], sign * 0.02
  if kind == "boots":
    pen.polygon(_box(x - width * 0.6, 0.79, x + width * 0.6, 0.97), rgb)
  elif kind == "sandals":
    pen.polygon(_box(x - width * 0.6, 0.945, x + width * 0.6, 0.975), rgb)
    pen.line([(x - width * 0.5, 0.92), (x + width * 0.5, 0.94)], 0.016, rgb)
  elif kind == "heels":
    pen.polygon([(x - width * 0.5, 0.9), (x + width * 0.5, 0.9), (x + width * 0.6 + toe, 0.98), (x, 0.95)], rgb)
    pen.line([(x - width * 0.45, 0.92), (x - width * 0.45, 0.98)], 0.012, rgb)
  elif kind == "leather shoes":
    pen.polygon(
      [(x - width * 0.5, 0.92), (x + width * 0.5, 0.92), (x + width * 0.7 + toe, 0.98), (x - width * 0.6, 0.98)], rgb
    )
  else:
    pen.ellipse((x + toe, 0.945), width * 0.72, 0.036, rgb)
    pen.line([(x + toe - width * 0.7, 0.974), (x + toe + width * 0.7, 0.974)], 0.012, contrast_with(rgb))


def _top(pen, worn, paint, half, view):
  kind, pattern = worn["top"], worn["pattern"]
  hem = HEM.get(kind, 0.57)
  texture = (pattern, paint["pattern_colour"]) if pattern not in ("plain", "logo") else None
  wide = half * {"dress": 1.7, "coat": 1.25}.get(kind, 1.06)
  outline = [(-half * 1.1, SHOULDER), (half * 1.1, SHOULDER), (half, WAIST), (wide, hem), (-wide, hem), (-half, WAIST)]
  pen.polygon(outline, paint["top_colour"], texture=texture)
  if view != "front":
    return
  if kind in OPEN_TOPS:
    pen.polygon(
      [(-half * 0.45, SHOULDER), (half * 0.45, SHOULDER), (half * 0.3, hem - 0.03), (-half * 0.3, hem - 0.03)],
      paint["under_colour"],
    )
  elif kind == "hoodie":
    pen.polygon(_half_disc(0, 0.5, half * 0.6, 0.06), mix(paint["top_colour"], (0, 0, 0), 0.2))
  elif kind == "shirt":
    pen.line([(0, SHOULDER), (0, hem)], 0.008, contrast_with(paint["top_colour"]))
  if pattern == "logo":
    pen.polygon([(0, 0.33), (half * 0.5, 0.39), (0, 0.45), (-half * 0.5, 0.39)], paint["pattern_colour"])


def _arms(pen, worn, paint, half, side):
  kind = worn["top"]
  for sign in (1,) if side else (-1, 1):
    shoulder, hand = (0 if side else sign * half * 1.12, 0.29), (sign * (0.06 if side else half + 0.05), 0.52)
    middle = tuple((a + b) / 2 for a, b in zip(shoulder, hand, strict=True))
    pen.line([shoulder, hand], 0.05, paint["skin"])
    if kind not in NO_SLEEVES:
      pen.line([shoulder, middle if kind in SHORT_SLEEVES else hand], 0.062, mix(paint["top_colour"], (0, 0, 0), 0.1))
    pen.ellipse(hand, 0.03, 0.03, paint["skin"])


def _head(pen, worn, paint, view):
  length, hair = worn["hair_length"], paint.get("hair_colour")
  pen.ellipse((0, 0.14), 0.11, 0.115, paint["skin"])
  if view == "back" and hair:
    pen.ellipse((0, 0.13), 0.115, 0.115, hair)
    if length in ("long", "medium"):
      pen.polygon(_box(-0.115, 0.12, 0.115, 0.42 if length == "long" else 0.28), hair)
    elif length == "ponytail":
      pen.ellipse((0, 0.27), 0.04, 0.12, hair)
  elif hair:
    pen.polygon(_half_disc(-0.01, 0.11, 0.118, 0.1), hair)
  if view != "back":
    for x in (-0.04, 0.04) if view == "front" else (0.055,):
      pen.ellipse((x, 0.14), 0.013, 0.017, BLACK, outline=False)
    pen.line(
      [(-0.03, 0.2), (0, 0.212), (0.03, 0.2)] if view == "front" else [(0.04, 0.2), (0.08, 0.196)], 0.01, (150, 50, 50)
    )
  kind = worn.get("hat")
  if kind:
    rgb = paint["hat_colour"]
    pen.polygon(_half_disc(0, 0.09, 0.12, 0.1 if kind != "hat" else 0.085), rgb)
    if kind == "cap":
      pen.polygon(
        _box(-0.12 if view == "front" else 0.04, 0.075, 0.12 if view == "front" else 0.2, 0.1),
        mix(rgb, (0, 0, 0), 0.25),
      )
    elif kind == "hat":
      pen.polygon(_box(-0.2, 0.075, 0.2, 0.1), rgb)
    else:
      pen.ellipse((0, -0.01), 0.03, 0.03, mix(rgb, (255, 255, 255), 0.4))


def _bag(pen, person, half, view):
  kind, rgb = person.attributes.get("bag"), person.paint.get("bag_colour")
  on = person.bag_side * (1 if view != "back" else -1)
  if kind == "backpack" and view == "back":
    pen.polygon(_box(-half * 0.8, 0.28, half * 0.8, 0.54), rgb)
    pen.line([(-half * 0.8, 0.42), (half * 0.8, 0.42)], 0.012, contrast_with(rgb))
  elif kind == "backpack":
    for x in (-half * 0.6, half * 0.6) if view == "front" else (0.0,):
      pen.line([(x, SHOULDER), (x, 0.44)], 0.026, rgb)
  elif kind == "shoulder bag":
    pen.line([(-on * half * 0.9, SHOULDER), (on * half, 0.5)], 0.016, rgb)
    pen.polygon(_box(on * half - 0.06, 0.49, on * half + 0.06, 0.59), rgb)
  elif kind == "handbag":
    x = on * (half + 0.05)
    pen.line([(x - 0.04, 0.58), (x, 0.52), (x + 0.04, 0.58)], 0.012, rgb)
    pen.polygon([(x - 0.05, 0.58), (x + 0.05, 0.58), (x + 0.07, 0.68), (x - 0.07, 0.68)], rgb)
  elif kind == "suitcase":
    x = on * (half + 0.07)
    pen.line([(x - 0.03, 0.74), (x - 0.03, 0.54), (x + 0.03, 0.54), (x + 0.03, 0.74)], 0.012, BLACK)
    pen.polygon(_box(x - 0.06, 0.7, x + 0.06, 0.94), rgb)
    for wheel in (-0.05, 0.05):
      pen.ellipse((x + wheel, 0.96), 0.018, 0.018, BLACK)


def _held(pen, worn, paint, half, side):
  kind, rgb = worn.get("held"), paint.get("held_colour")
  if kind is None:
    return
  x, y = 0.06 if side else half + 0.05, 0.5
  if kind == "phone":
    pen.polygon(_box(x - 0.02, y - 0.07, x + 0.03, y + 0.02), rgb)
  elif kind == "bottle":
    pen.polygon(_box(x - 0.025, y - 0.08, x + 0.025, y + 0.06), rgb)
    pen.polygon(_box(x - 0.011, y - 0.11, x + 0.011, y - 0.08), contrast_with(rgb))
  elif kind == "folder":
    pen.polygon(_box(x - 0.08, y - 0.08, x + 0.04, y + 0.06), rgb)
    pen.line([(x - 0.06, y - 0.03), (x + 0.02, y - 0.03)], 0.01, contrast_with(rgb))
  elif kind == "cup":
    pen.polygon([(x - 0.03, y - 0.07), (x + 0.03, y - 0.07), (x + 0.02, y + 0.02), (x - 0.02, y + 0.02)], rgb)
  else:
    pen.line([(x, y), (0.2, 0.4)], 0.02, BLACK)


def _box(left, top, right, bottom):
  return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _half_disc(x, y, rx, ry):
  """Returns the upper half of an ellipse around (x, y)."""
  arc = [(-1, 0), (-0.9, -0.43), (-0.62, -0.78), (-0.22, -0.97), (0.22, -0.97), (0.62, -0.78), (0.9, -0.43), (1, 0)]
  return [(x + rx * a, y + ry * b) for a, b in arc]
