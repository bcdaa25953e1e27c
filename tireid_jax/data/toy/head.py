"""Heads: face, hair and hat in each view."""

from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.canvas import Pen, mirrored, smooth
from tireid_jax.data.toy.palette import RGB, edge, mix

FACE_X, FACE_Y = 0.046, 0.062
CENTRE_Y = 0.076
DARK = (52, 40, 38)


def draw_hair_behind(pen: Pen, person: Person, view: str) -> None:
  """Draws the hair behind face and shoulders: medium or long hair in the front view."""
  length = person.attributes["hair_length"]
  if view != "front" or length not in ("long", "medium"):
    return
  low = 0.255 if length == "long" else 0.165
  hair = mirrored([(0.03, 0.012), (0.058, 0.05), (0.066, 0.12), (0.068, low - 0.02), (0.036, low)])
  pen.polygon(smooth(hair, 2), person.paint["hair_colour"], "hair")


def draw_neck(pen: Pen, person: Person) -> None:
  tone = mix(person.paint["skin"], (0, 0, 0), 0.14)
  pen.polygon([(-0.026, 0.11), (0.026, 0.11), (0.03, 0.168), (-0.03, 0.168)], tone, "other", outline=False)


def draw_head(pen: Pen, person: Person, view: str) -> None:
  """Draws face, hair and hat."""
  skin = person.paint["skin"]
  if view == "front":
    _front(pen, person, skin)
  elif view == "back":
    _back(pen, person, skin)
  else:
    _side(pen, person, skin)
  hat = person.attributes.get("hat")
  if hat:
    draw_hat(pen, hat, person.paint["hat_colour"], view)


def _front(pen, person, skin):
  length = person.attributes["hair_length"]
  for sign in (-1, 1):
    pen.ellipse((sign * 0.046, 0.082), 0.01, 0.015, skin, "other")
  pen.ellipse((0, CENTRE_Y), FACE_X, FACE_Y, skin, "face")
  for sign in (-1, 1):
    pen.ellipse((sign * 0.018, 0.076), 0.0065, 0.0075, DARK, outline=False)
    pen.line([(sign * 0.01, 0.061), (sign * 0.028, 0.061)], 0.006, mix(skin, DARK, 0.7))
  pen.line([(0, 0.08), (0.003, 0.094)], 0.005, mix(skin, DARK, 0.4))
  red = (178, 62, 66) if person.attributes["gender"] == "woman" else mix(skin, DARK, 0.6)
  pen.line([(-0.014, 0.111), (0.014, 0.111)], 0.008, red)
  if length == "bald":
    return
  rgb = person.paint["hair_colour"]
  crown = [(-0.05, 0.078), (-0.055, 0.045), (-0.034, 0.006), (0, -0.004), (0.034, 0.006), (0.055, 0.045), (0.05, 0.078)]
  fringe = [(0.041, 0.05), (0.018, 0.037), (-0.016, 0.042), (-0.04, 0.052)]
  pen.polygon(smooth([*crown, *fringe], 2), rgb, "hair")
  if length in ("medium", "long"):
    low = 0.15 if length == "medium" else 0.235
    for sign in (-1, 1):
      lock = [
        (sign * 0.04, 0.04),
        (sign * 0.058, 0.05),
        (sign * 0.064, 0.12),
        (sign * 0.062, low),
        (sign * 0.044, low - 0.005),
        (sign * 0.044, 0.1),
      ]
      pen.polygon(smooth(lock, 2), rgb, "hair")


def _back(pen, person, skin):
  length = person.attributes["hair_length"]
  pen.ellipse((0, CENTRE_Y), FACE_X, FACE_Y, skin, "other")
  for sign in (-1, 1):
    pen.ellipse((sign * 0.047, 0.084), 0.01, 0.015, skin, "other")
  if length == "bald":
    return
  rgb = person.paint["hair_colour"]
  low, wide = {"short": (0.118, 0.04), "ponytail": (0.122, 0.04), "medium": (0.168, 0.06), "long": (0.285, 0.068)}[
    length
  ]
  right = [(0.034, 0.004), (0.055, 0.045), (0.056, 0.085), (wide, low - 0.015), (wide * 0.6, low)]
  pen.polygon(smooth(mirrored(right), 2), rgb, "hair")
  for x in (-0.4, 0.35):
    pen.line([(x * 0.06, 0.03), (x * wide * 1.2, low - 0.02)], 0.005, edge(rgb))
  if length == "ponytail":
    pen.polygon(smooth(mirrored([(0.013, 0.06), (0.024, 0.11), (0.022, 0.2), (0.004, 0.265)]), 2), rgb, "tail")
    pen.line([(-0.014, 0.07), (0.014, 0.07)], 0.012, (200, 60, 80))


def _side(pen, person, skin):
  length = person.attributes["hair_length"]
  pen.ellipse((0.004, CENTRE_Y), 0.05, FACE_Y, skin, "face")
  pen.polygon([(0.046, 0.072), (0.066, 0.094), (0.048, 0.1)], skin, "face", outline=False)
  pen.ellipse((0.036, 0.074), 0.006, 0.0085, DARK, outline=False)
  pen.line([(0.034, 0.115), (0.05, 0.113)], 0.007, (170, 70, 70))
  if length != "bald":
    rgb = person.paint["hair_colour"]
    low, back = {"short": (0.118, 0.046), "ponytail": (0.11, 0.048), "medium": (0.168, 0.066), "long": (0.275, 0.086)}[
      length
    ]
    crown = [(0.05, 0.05), (0.046, 0.02), (0.01, -0.004), (-0.034, 0.008), (-0.058, 0.05), (-0.058, 0.09)]
    nape = [(-back, low - 0.02), (-back + 0.014, low), (-0.016, low - 0.02)]
    hair = [*crown, *nape, (-0.012, 0.09), (0.004, 0.062), (0.024, 0.044)]
    pen.polygon(smooth(hair, 2), rgb, "hair")
    if length == "ponytail":
      tail = [(-0.046, 0.05), (-0.082, 0.062), (-0.1, 0.13), (-0.092, 0.205), (-0.072, 0.15), (-0.066, 0.09)]
      pen.polygon(smooth(tail, 2), rgb, "tail")
      pen.ellipse((-0.056, 0.06), 0.01, 0.012, (200, 60, 80), outline=False)
  pen.ellipse((-0.002, 0.084), 0.009, 0.014, mix(skin, (0, 0, 0), 0.08), "other")


def draw_hat(pen: Pen, hat: str, rgb: RGB, view: str) -> None:
  is_side = view in ("left", "right")
  dark = mix(rgb, (0, 0, 0), 0.3)
  dome = smooth(mirrored([(0.0, -0.02), (0.034, -0.012), (0.056, 0.02), (0.056, 0.046)]), 2)
  if hat == "beanie":
    tall = smooth(mirrored([(0.0, -0.036), (0.032, -0.026), (0.056, 0.012), (0.056, 0.05)]), 2)
    pen.polygon(tall, rgb, "hat")
    pen.polygon(mirrored([(0.059, 0.024), (0.059, 0.052)]), dark, "hat")
    pen.ellipse((0, -0.04), 0.016, 0.015, mix(rgb, (255, 255, 255), 0.45), "hat")
  elif hat == "cap":
    pen.polygon(dome, rgb, "hat")
    if is_side:
      pen.polygon(smooth([(0.02, 0.03), (0.07, 0.032), (0.108, 0.05), (0.06, 0.052), (0.02, 0.05)], 2), dark, "hat")
    elif view == "front":
      pen.polygon(
        smooth([(-0.055, 0.036), (0, 0.024), (0.055, 0.036), (0.042, 0.058), (0, 0.064), (-0.042, 0.058)], 2),
        dark,
        "hat",
      )
    else:
      pen.ellipse((0, 0.05), 0.022, 0.012, dark, "hat")
  else:
    pen.polygon(mirrored([(0.042, -0.034), (0.05, 0.03)]), rgb, "hat")
    pen.polygon(
      smooth([(-0.105, 0.034), (0, 0.018), (0.105, 0.034), (0.07, 0.05), (0, 0.054), (-0.07, 0.05)], 2), rgb, "hat"
    )
    pen.polygon(mirrored([(0.048, 0.008), (0.05, 0.026)]), dark, "hat", outline=False)
