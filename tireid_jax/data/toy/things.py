"""Bags and held objects."""

from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.body import Body, Pose, with_hand
from tireid_jax.data.toy.canvas import Pen, Point, mirrored, smooth
from tireid_jax.data.toy.palette import RGB, contrast_with, edge, mix


def pose_with_things(person: Person, body: Body, pose: Pose) -> Pose:
  """Returns `pose` with the arms bent that hold or carry something."""
  held, bag = person.attributes.get("held"), person.attributes.get("bag")
  index = pose.limb_index(-person.bag_side)
  sign = 1 if index else -1
  if held in ("phone", "umbrella", "cup", "folder"):
    if pose.is_side:
      hand = {"phone": (0.105, 0.25), "umbrella": (0.09, 0.27), "cup": (0.115, 0.3), "folder": (0.075, 0.37)}[held]
      pose = with_hand(pose, index, (0.012, 0.345), hand)
    else:
      x, y = {"phone": (0.06, 0.27), "umbrella": (0.085, 0.28), "cup": (0.075, 0.31), "folder": (0.065, 0.4)}[held]
      pose = with_hand(pose, index, (sign * (body.shoulder + 0.016), 0.34), (sign * x, y))
  if bag == "suitcase" and pose.is_side:
    pose = with_hand(pose, pose.limb_index(person.bag_side), (-0.06, 0.335), (-0.125, 0.455))
  return pose


def is_bent_away(person: Person, pose: Pose, index: int) -> bool:
  """Whether the person's back hides the raised arm `index`."""
  holds = person.attributes.get("held") in ("phone", "umbrella", "cup", "folder")
  return pose.view == "back" and holds and index == pose.limb_index(-person.bag_side)


def draw_bag(pen: Pen, person: Person, body: Body, pose: Pose, *, behind: bool) -> None:
  """Draws the bag if it belongs to this layer: behind or in front of the body."""
  kind = person.attributes.get("bag")
  if kind is None:
    return
  rgb, index = person.paint["bag_colour"], pose.limb_index(person.bag_side)
  if kind == "backpack":
    if behind == pose.is_side:
      _backpack(pen, rgb, body, pose.view)
    return
  hidden = (pose.is_side and index == 0) or (kind == "suitcase" and pose.view == "front")
  if behind != hidden:
    return
  hand = pose.arms[index][2]
  sign = 1 if index else -1
  if kind == "shoulder bag":
    if pose.is_side:
      pen.line([(0.0, 0.17), (-0.01, 0.45)], 0.016, mix(rgb, (0, 0, 0), 0.25))
      satchel(pen, (-0.012, 0.5), 0.075, 0.055, rgb)
    else:
      pen.line([(-sign * 0.07, 0.168), (sign * (body.hip + 0.012), 0.46)], 0.017, mix(rgb, (0, 0, 0), 0.25))
      satchel(pen, (sign * (body.hip + 0.022), 0.5), 0.062, 0.06, rgb)
  elif kind == "handbag":
    handbag(pen, (hand[0], hand[1] + 0.01), 0.068, rgb)
  else:
    x = hand[0] + (sign * 0.035 if not pose.is_side else -0.05)
    suitcase(pen, (x, 0.955), 0.062, 0.255, rgb, handle=hand)


def _backpack(pen: Pen, rgb: RGB, body: Body, view: str) -> None:
  if view == "front":
    for sign in (-1, 1):
      x = sign * body.shoulder
      pen.line([(x * 0.55, 0.168), (x * 0.62, 0.27), (x * 0.85, 0.36)], 0.02, mix(rgb, (0, 0, 0), 0.2))
  elif view == "back":
    backpack(pen, (0, 0.31), body.shoulder * 0.82, 0.135, rgb)
  else:
    x = -body.shoulder
    lump = [(x * 0.4, 0.19), (x - 0.045, 0.2), (x - 0.085, 0.27), (x - 0.09, 0.4), (x - 0.06, 0.445), (x * 0.4, 0.44)]
    pen.polygon(smooth(lump, 2), rgb, "bag")
    pen.line([(x - 0.078, 0.34), (x * 0.4, 0.34)], 0.01, edge(rgb))


def draw_straps(pen: Pen, person: Person, body: Body, pose: Pose) -> None:
  """Draws the strap of a backpack over the shoulder in side views."""
  if person.attributes.get("bag") == "backpack" and pose.is_side:
    rgb = mix(person.paint["bag_colour"], (0, 0, 0), 0.2)
    pen.line([(-0.02, 0.168), (body.shoulder * 0.6, 0.22), (body.shoulder * 0.5, 0.3), (-0.03, 0.37)], 0.018, rgb)


def backpack(pen: Pen, centre: Point, rx: float, ry: float, rgb: RGB) -> None:
  x, y = centre
  corners = [
    (0.75, -1),
    (1, -0.75),
    (1.06, 0.5),
    (1, 0.9),
    (0.7, 1),
    (-0.7, 1),
    (-1, 0.9),
    (-1.06, 0.5),
    (-1, -0.75),
    (-0.75, -1),
  ]
  pen.polygon(smooth([(x + rx * a, y + ry * b) for a, b in corners], 2), rgb, "bag")
  pocket = [(x + rx * a, y + ry * b) for a, b in ((-0.7, 0.15), (0.7, 0.15), (0.75, 0.8), (-0.75, 0.8))]
  pen.polygon(pocket, mix(rgb, (0, 0, 0), 0.16))
  pen.line([(x - rx * 0.85, y - ry * 0.45), (x + rx * 0.85, y - ry * 0.45)], 0.009, edge(rgb))
  pen.line(
    [(x - rx * 0.2, y - ry * 1.0), (x, y - ry * 1.14), (x + rx * 0.2, y - ry * 1.0)], 0.012, mix(rgb, (0, 0, 0), 0.3)
  )


def satchel(pen: Pen, centre: Point, rx: float, ry: float, rgb: RGB) -> None:
  x, y = centre
  pen.polygon(smooth([(x - rx, y - ry), (x + rx, y - ry), (x + rx, y + ry), (x - rx, y + ry)], 1), rgb, "bag")
  flap = [(x - rx, y - ry), (x + rx, y - ry), (x + rx * 0.9, y + ry * 0.25), (x - rx * 0.9, y + ry * 0.25)]
  pen.polygon(flap, mix(rgb, (0, 0, 0), 0.14))
  pen.ellipse((x, y + ry * 0.22), rx * 0.13, rx * 0.13, contrast_with(rgb), outline=False)


def handbag(pen: Pen, hand: Point, rx: float, rgb: RGB) -> None:
  x, y = hand
  pen.line(
    [(x - rx * 0.5, y + 0.06), (x - rx * 0.4, y + 0.01), (x + rx * 0.4, y + 0.01), (x + rx * 0.5, y + 0.06)],
    0.012,
    mix(rgb, (0, 0, 0), 0.3),
  )
  body = [(x - rx * 0.75, y + 0.055), (x + rx * 0.75, y + 0.055), (x + rx, y + 0.155), (x - rx, y + 0.155)]
  pen.polygon(body, rgb, "bag")
  pen.line([(x - rx * 0.8, y + 0.08), (x + rx * 0.8, y + 0.08)], 0.008, edge(rgb))
  pen.ellipse((x, y + 0.095), rx * 0.14, rx * 0.14, contrast_with(rgb), outline=False)


def suitcase(pen: Pen, foot: Point, rx: float, tall: float, rgb: RGB, *, handle: Point):
  x, y = foot
  top = y - tall
  for share in (-0.35, 0.35):
    pen.line([(x + rx * share, top), (handle[0] + rx * share * 0.5, handle[1] + 0.02)], 0.009, (96, 98, 104))
    pen.ellipse((x + rx * share * 1.8, y), 0.014, 0.014, (40, 40, 44))
  pen.polygon(smooth([(x - rx, top), (x + rx, top), (x + rx, y - 0.008), (x - rx, y - 0.008)], 1), rgb, "bag")
  for share in (-0.4, 0.4):
    pen.line([(x + rx * share, top + 0.02), (x + rx * share, y - 0.03)], 0.01, edge(rgb))


def draw_held(pen: Pen, person: Person, pose: Pose, *, behind: bool) -> None:
  """Draws what is in the other hand if it belongs to this layer."""
  kind = person.attributes.get("held")
  if kind is None:
    return
  index = pose.limb_index(-person.bag_side)
  hidden = index == 0 if pose.is_side else pose.view == "back" and kind != "bottle"
  if behind == hidden:
    DRAW_HELD[kind](pen, pose.arms[index][2], person.paint["held_colour"])
    if not behind:
      x, y = pose.arms[index][2]
      pen.ellipse((x, y + 0.014), 0.017, 0.02, person.paint["skin"], "other")


def umbrella(pen: Pen, hand: Point, rgb: RGB) -> None:
  x, y = hand
  centre = x * 0.55
  pen.line([(x, y + 0.05), (centre, -0.12)], 0.011, (92, 74, 60))
  dome = [
    (centre + 0.235 * a, -0.055 + 0.125 * b)
    for a, b in ((-1, 0), (-0.82, -0.5), (-0.42, -0.88), (0, -1), (0.42, -0.88), (0.82, -0.5), (1, 0))
  ]
  hem = [
    (centre + 0.235 * a, -0.055 + b)
    for a, b in ((0.66, -0.024), (0.33, 0.004), (0, -0.024), (-0.33, 0.004), (-0.66, -0.024))
  ]
  pen.polygon([*dome, *hem], rgb, "held")
  for offset in (-0.33, 0.33):
    pen.line([(centre, -0.18), (centre + 0.235 * offset, -0.055)], 0.006, edge(rgb))


def phone(pen: Pen, hand: Point, rgb: RGB) -> None:
  x, y = hand
  pen.polygon([(x - 0.022, y - 0.05), (x + 0.022, y - 0.05), (x + 0.022, y + 0.03), (x - 0.022, y + 0.03)], rgb, "held")
  pen.polygon(
    [(x - 0.014, y - 0.04), (x + 0.014, y - 0.04), (x + 0.014, y + 0.01), (x - 0.014, y + 0.01)],
    (150, 210, 236),
    outline=False,
  )


def bottle(pen: Pen, hand: Point, rgb: RGB) -> None:
  x, y = hand
  shape = [(0.011, -0.062), (0.011, -0.042), (0.026, -0.022), (0.026, 0.075)]
  pen.polygon([(x + a, y + b) for a, b in mirrored(shape)], rgb, "held")
  pen.polygon([(x + a, y + b) for a, b in mirrored([(0.014, -0.076), (0.014, -0.058)])], contrast_with(rgb))
  pen.polygon([(x + a, y + b) for a, b in mirrored([(0.026, 0.02), (0.026, 0.05)])], contrast_with(rgb), outline=False)


def folder(pen: Pen, hand: Point, rgb: RGB) -> None:
  x, y = hand
  pen.polygon([(x - 0.05, y - 0.115), (x + 0.05, y - 0.115), (x + 0.05, y + 0.015), (x - 0.05, y + 0.015)], rgb, "held")
  pen.polygon(
    [(x - 0.03, y - 0.095), (x + 0.03, y - 0.095), (x + 0.03, y - 0.065), (x - 0.03, y - 0.065)],
    contrast_with(rgb),
    outline=False,
  )


def cup(pen: Pen, hand: Point, rgb: RGB) -> None:
  x, y = hand
  pen.polygon(
    [(x - 0.026, y - 0.055), (x + 0.026, y - 0.055), (x + 0.019, y + 0.028), (x - 0.019, y + 0.028)], rgb, "held"
  )
  pen.polygon(
    [(x - 0.03, y - 0.07), (x + 0.03, y - 0.07), (x + 0.028, y - 0.05), (x - 0.028, y - 0.05)], contrast_with(rgb)
  )


DRAW_HELD = {"umbrella": umbrella, "phone": phone, "bottle": bottle, "folder": folder, "cup": cup}
