"""Tops with their sleeves, worn or as single garments."""

from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.body import Body, Pose
from tireid_jax.data.toy.canvas import Pen, Point, mirrored, smooth
from tireid_jax.data.toy.palette import RGB, contrast_with, edge, mix

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
HEMS = {
  "t-shirt": 0.515,
  "shirt": 0.53,
  "sweater": 0.52,
  "hoodie": 0.525,
  "jacket": 0.545,
  "coat": 0.72,
  "vest": 0.505,
  "dress": 0.68,
}
# Extra half width of each top over the body, relative to the height.
BULK = {"hoodie": 0.008, "sweater": 0.005, "jacket": 0.008, "coat": 0.01}
SLEEVE_RADIUS = {
  "t-shirt": 0.038,
  "shirt": 0.033,
  "sweater": 0.036,
  "hoodie": 0.039,
  "jacket": 0.039,
  "coat": 0.041,
  "dress": 0.035,
}
LONG_SLEEVES = ("shirt", "sweater", "hoodie", "jacket", "coat")


def texture_of(person: Person) -> tuple[str, RGB] | None:
  """Returns (pattern, second colour) of a patterned top; None for plain tops and logos."""
  kind = person.attributes["pattern"]
  return None if kind in ("plain", "logo") else (kind, person.paint["pattern_colour"])


def draw_arm(pen: Pen, person: Person, body: Body, pose: Pose, index: int, *, skin: bool = True) -> None:
  """Draws an arm with its hand and sleeve; without `skin` the sleeve alone."""
  shoulder, elbow, hand = pose.arms[index]
  top, thick = person.attributes["top"], body.arm
  far = pose.is_side and index == 0
  tone, rgb, texture = person.paint["skin"], person.paint["top_colour"], texture_of(person)
  if far:
    tone, rgb = mix(tone, BLACK, 0.12), mix(rgb, BLACK, 0.16)
  if skin:
    bare = top not in LONG_SLEEVES
    if bare:
      for joints, radii in _straight_parts((shoulder, elbow, hand), (thick * 1.05, thick * 0.9, thick * 0.72)):
        pen.limb(joints, radii, tone, "other")
    pen.ellipse((hand[0], hand[1] + 0.012), 0.022, 0.027, tone, "other")
  if top == "vest":
    return
  radius = SLEEVE_RADIUS[top] * (0.72 + 0.28 * thick / 0.028)
  if top in LONG_SLEEVES:
    wrist = (hand[0] + (elbow[0] - hand[0]) * 0.1, hand[1] + (elbow[1] - hand[1]) * 0.1)
    for joints, radii in _straight_parts((shoulder, elbow, wrist), (radius * 0.82, radius * 0.95, radius * 0.76)):
      pen.limb(joints, radii, rgb, "top", texture=texture)
    if top in ("hoodie", "sweater", "shirt"):
      cuff = (hand[0] + (elbow[0] - hand[0]) * 0.2, hand[1] + (elbow[1] - hand[1]) * 0.2)
      pen.limb((cuff, wrist), (radius * 0.72, radius * 0.7), mix(rgb, BLACK, 0.16))
  else:
    end = tuple(a + (b - a) * 0.72 for a, b in zip(shoulder, elbow, strict=True))
    pen.limb((shoulder, end), (radius * 0.84, radius * 1.04), rgb, "top", texture=texture, open_end=True)


def _straight_parts(joints, radii):
  """Returns an arm's (joints, radii) in one piece, or in two if it is bent so far that a single tube would fold."""
  if joints[2][1] > joints[1][1] + 0.05:
    return [(joints, radii)]
  return [(joints[:2], radii[:2]), (joints[1:], radii[1:])]


def torso_outline(top: str, body: Body, is_side: bool) -> list[Point]:
  """Returns the outline of a top without sleeves."""
  hem, bulk = HEMS[top], BULK.get(top, 0.0)
  s, w, h = body.shoulder + bulk, body.waist + bulk, body.hip + bulk
  if is_side:
    front = [(0.036, 0.158), (s * 0.86, 0.2), (s * 1.04, 0.265), (w, 0.385)]
    back = [(-w * 0.9, 0.385), (-s * 1.0, 0.27), (-s * 0.8, 0.19), (-0.036, 0.152)]
    low = {"coat": 1.32, "dress": 1.65}.get(top, 1.05)
    middle = [(h * 1.05, 0.48), (h * low, hem), (-h * low, hem), (-h * 1.1, 0.48)]
    return [*front, *middle, *back]
  if top == "vest":
    right = [(0.045, 0.172), (s * 0.6, 0.165), (s * 0.72, 0.215), (s * 0.95, 0.262), (w, 0.375), (h, hem)]
  else:
    right = [(0.036, 0.152), (s * 0.7, 0.167), (s * 0.97, 0.192), (s * 0.95, 0.26), (w, 0.375)]
    right += {
      "coat": [(h * 1.08, 0.48), (h * 1.3, hem)],
      "dress": [(h * 1.08, 0.47), (h * 1.6, hem)],
      "hoodie": [(h * 1.08, 0.485), (h * 0.96, hem)],
      "sweater": [(h * 1.08, 0.485), (h * 0.98, hem)],
    }.get(top, [(h * 1.06, hem)])
  return mirrored(right)


def draw_torso(pen: Pen, person: Person, body: Body, pose: Pose, light: int) -> None:
  """Draws a top without sleeves; light comes from the right (+1) or left (-1) in figure coordinates."""
  top, rgb = person.attributes["top"], person.paint["top_colour"]
  outline = torso_outline(top, body, pose.is_side)
  if top == "vest":
    s = body.shoulder * 0.94
    pen.polygon(mirrored([(0.034, 0.152), (s * 0.72, 0.17), (s, 0.2), (s * 0.9, 0.3)]), person.paint["skin"], "other")
  pen.polygon(outline, rgb, "top", texture=texture_of(person))
  details = {"front": _front_details, "back": _back_details}.get(pose.view, _side_details)
  details(pen, person, body, top, rgb)
  if person.attributes["pattern"] == "logo" and pose.view == "front":
    pen.ellipse((0, 0.3), 0.046, 0.036, person.paint["pattern_colour"], "logo", outline=False)
    pen.polygon([(-0.03, 0.3), (0, 0.276), (0.03, 0.3), (0, 0.324)], rgb, outline=False)
  shadow = [(x if x * light < 0 else -0.35 * x, y) for x, y in outline if y > (0.23 if top == "vest" else 0.17)]
  pen.shade(shadow)


def _front_details(pen, person, body, top, rgb):
  dark, skin, hem = edge(rgb), person.paint["skin"], HEMS[top]
  if top in ("t-shirt", "sweater", "dress"):
    pen.ellipse((0, 0.158), 0.042, 0.021, mix(rgb, BLACK, 0.2), outline=False)
    pen.ellipse((0, 0.153), 0.034, 0.017, skin, "other", outline=False)
  if top == "sweater":
    pen.polygon(mirrored([(body.hip * 1.0, hem - 0.022), (body.hip * 0.98, hem)]), mix(rgb, BLACK, 0.16))
  elif top == "vest":
    pen.polygon(smooth([(-0.05, 0.16), (0.05, 0.16), (0.036, 0.225), (-0.036, 0.225)]), skin, "other")
  elif top == "shirt":
    pen.line([(0, 0.17), (0, hem)], 0.006, dark)
    for y in (0.22, 0.28, 0.34, 0.4, 0.46):
      pen.ellipse((0.001, y), 0.006, 0.006, contrast_with(rgb), outline=False)
    pen.polygon([(-0.026, 0.148), (0.026, 0.148), (0, 0.2)], skin, "other")
    for sign in (-1, 1):
      pen.polygon([(sign * 0.03, 0.14), (sign * 0.056, 0.166), (sign * 0.024, 0.205), (0, 0.185)], mix(rgb, WHITE, 0.3))
  elif top == "hoodie":
    pen.polygon(smooth([(-0.074, 0.15), (0.074, 0.15), (0.05, 0.21), (0, 0.226), (-0.05, 0.21)]), mix(rgb, BLACK, 0.22))
    pen.ellipse((0, 0.158), 0.034, 0.024, skin, "other", outline=False)
    for sign in (-1, 1):
      pen.line([(sign * 0.022, 0.2), (sign * 0.024, 0.275)], 0.008, contrast_with(rgb))
    pen.polygon(mirrored([(0.04, 0.395), (0.07, 0.47), (0.064, 0.495)]), mix(rgb, BLACK, 0.1))
  elif top == "jacket":
    under = person.paint["under_colour"]
    pen.polygon(mirrored([(0.034, 0.15), (0.042, 0.3), (0.036, hem - 0.02)]), under, "under")
    pen.ellipse((0, 0.152), 0.026, 0.018, skin, "other", outline=False)
    for sign in (-1, 1):
      pen.polygon(
        [(sign * 0.034, 0.14), (sign * 0.066, 0.165), (sign * 0.048, 0.25), (sign * 0.036, 0.3)],
        mix(rgb, WHITE, 0.16),
      )
      pen.line([(sign * 0.066, 0.44), (sign * 0.09, 0.41)], 0.008, dark)
  elif top == "coat":
    pen.polygon([(-0.042, 0.148), (0.042, 0.148), (0, 0.33)], person.paint["under_colour"], "under")
    pen.ellipse((0, 0.15), 0.026, 0.018, skin, "other", outline=False)
    for sign in (-1, 1):
      pen.polygon([(sign * 0.04, 0.14), (sign * 0.08, 0.17), (sign * 0.06, 0.235), (0, 0.34)], mix(rgb, WHITE, 0.14))
      for y in (0.42, 0.5, 0.58):
        pen.ellipse((sign * 0.022, y), 0.0075, 0.0075, contrast_with(rgb), outline=False)
    pen.line([(0, 0.34), (0, hem)], 0.006, dark)
    pen.line([(-body.waist, 0.385), (body.waist, 0.385)], 0.018, mix(rgb, BLACK, 0.3))
  elif top == "dress":
    pen.line([(-body.waist * 0.98, 0.385), (body.waist * 0.98, 0.385)], 0.014, mix(rgb, BLACK, 0.3))
    for x in (-0.5, 0.15, 0.65):
      pen.line([(x * body.hip, 0.5), (x * body.hip * 1.6, hem)], 0.006, dark)


def _back_details(pen, person, body, top, rgb):
  dark, hem = edge(rgb), HEMS[top]
  if top == "hoodie":
    pen.polygon(smooth([(-0.08, 0.15), (0.08, 0.15), (0.062, 0.23), (0, 0.268), (-0.062, 0.23)]), mix(rgb, BLACK, 0.2))
  elif top in ("shirt", "jacket", "coat"):
    pen.polygon(mirrored([(0.045, 0.135), (0.056, 0.168)]), mix(rgb, WHITE, 0.16))
  elif top == "vest":
    pen.ellipse((0, 0.165), 0.046, 0.03, person.paint["skin"], "other", outline=False)
  if top == "coat":
    pen.line([(0, 0.46), (0, hem)], 0.006, dark)
  if top in ("coat", "dress"):
    pen.line([(-body.waist, 0.385), (body.waist, 0.385)], 0.016, mix(rgb, BLACK, 0.3))
  if top in ("sweater", "hoodie", "jacket"):
    low = mirrored([(body.hip * 1.02, hem - 0.022), (body.hip * 0.99, hem)])
    pen.polygon(low, mix(rgb, BLACK, 0.16))


def _side_details(pen, person, body, top, rgb):
  dark, hem, s, w, h = edge(rgb), HEMS[top], body.shoulder, body.waist, body.hip
  if top == "hoodie":
    pen.polygon(
      smooth([(-0.085, 0.17), (-0.04, 0.14), (0.03, 0.155), (0.0, 0.2), (-0.06, 0.235)]), mix(rgb, BLACK, 0.2)
    )
  elif top in ("shirt", "jacket", "coat"):
    pen.polygon([(-0.04, 0.138), (0.036, 0.146), (0.05, 0.178), (-0.045, 0.168)], mix(rgb, WHITE, 0.16))
  if top == "jacket":
    under = person.paint["under_colour"]
    edge_line = [(0.036, 0.16), (s * 0.88, 0.2), (s * 1.05, 0.265), (w, 0.385), (h * 1.05, 0.48)]
    pen.polygon([*edge_line, (h * 0.7, 0.52), (w * 0.68, 0.385), (s * 0.55, 0.24)], under, "under")
  if top in ("coat", "dress"):
    pen.line([(-w * 0.92, 0.385), (w * 0.98, 0.385)], 0.016, mix(rgb, BLACK, 0.3))
    pen.line([(h * 0.6, 0.5), (h * 0.9, hem)], 0.006, dark)
