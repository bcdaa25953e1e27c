"""Trousers, shorts, skirts and shoes, worn or as single garments."""

from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.body import Body, Pose
from tireid_jax.data.toy.canvas import Pen, mirrored, smooth
from tireid_jax.data.toy.palette import contrast_with, edge, mix


def draw_leg(pen: Pen, person: Person, body: Body, pose: Pose, index: int, *, skin: bool = True) -> None:
  """Draws a leg with its garment and shoe; without `skin` the garment alone."""
  leg, attributes = pose.legs[index], person.attributes
  thick = body.leg
  far = pose.is_side and index == 0
  bottom = attributes.get("bottom")
  if skin:
    tone = mix(person.paint["skin"], (0, 0, 0), 0.12) if far else person.paint["skin"]
    pen.limb(leg, (thick, thick * 0.74, thick * 0.46), tone, "other")
  if bottom in ("trousers", "shorts"):
    rgb = person.paint["bottom_colour"]
    rgb = mix(rgb, (0, 0, 0), 0.16) if far else rgb
    if bottom == "trousers":
      pen.limb(leg, (thick * 1.12, thick * 0.9, thick * 0.74), rgb, "bottom", open_end=True)
    else:
      hem = tuple(a + (b - a) * 0.78 for a, b in zip(leg[0], leg[1], strict=True))
      pen.limb((leg[0], hem), (thick * 1.12, thick * 1.14), rgb, "bottom", open_end=True)
  if skin or "shoes" in attributes:
    draw_shoe(pen, person, pose, index)


def draw_shoe(pen: Pen, person: Person, pose: Pose, index: int) -> None:
  """Draws the shoe of a leg."""
  kind, rgb = person.attributes["shoes"], person.paint["shoes_colour"]
  knee, (x, y) = pose.legs[index][1:]
  skin = person.paint["skin"]
  if pose.is_side and index == 0:
    rgb, skin = mix(rgb, (0, 0, 0), 0.16), mix(skin, (0, 0, 0), 0.12)
  if kind == "boots":
    top = (x + (knee[0] - x) * 0.5, y + (knee[1] - y) * 0.5)
    pen.limb((top, (x, y + 0.015)), (0.042, 0.033), rgb, "shoes")
  if not pose.is_side:
    low = 0.036 if pose.view == "front" else 0.026
    foot = smooth(
      [(x - 0.027, y + 0.0), (x + 0.027, y), (x + 0.034, y + low), (x, y + low + 0.013), (x - 0.034, y + low)]
    )
    toe = [(x - 0.036, y + low), (x + 0.036, y + low), (x + 0.03, y + low + 0.013), (x - 0.03, y + low + 0.013)]
  else:
    foot = smooth(
      [(x - 0.034, y - 0.008), (x + 0.022, y - 0.012), (x + 0.05, y + 0.016), (x + 0.084, y + 0.032),
       (x + 0.08, y + 0.045), (x - 0.036, y + 0.045)]
    )  # fmt: skip
    toe = [(x - 0.038, y + 0.037), (x + 0.088, y + 0.037), (x + 0.086, y + 0.05), (x - 0.038, y + 0.05)]
  if kind == "sandals":
    pen.polygon(foot, skin, "other")
    pen.polygon(toe, rgb, "shoes")
    middle = sum(px for px, _ in foot) / len(foot)
    pen.line([(middle - 0.03, y + 0.012), (middle + 0.03, y + 0.026)], 0.012, rgb, "shoes")
    pen.line([(middle - 0.03, y + 0.03), (middle + 0.03, y + 0.01)], 0.01, rgb, "shoes")
    return
  pen.polygon(foot, rgb, "shoes")
  if kind == "sneakers":
    pen.polygon(toe, (250, 250, 248) if sum(rgb) < 640 else (150, 152, 156), "shoes", outline=False)
    if pose.view == "front":
      pen.line([(x - 0.014, y + 0.012), (x + 0.014, y + 0.016)], 0.005, contrast_with(rgb))
  elif kind == "heels":
    if pose.is_side:
      pen.polygon(
        [(x - 0.036, y + 0.02), (x - 0.022, y + 0.03), (x - 0.028, y + 0.066), (x - 0.036, y + 0.066)], rgb, "shoes"
      )
    else:
      pen.polygon(
        [(x - 0.024, y + 0.03), (x + 0.024, y + 0.03), (x + 0.006, y + 0.064), (x - 0.006, y + 0.064)], rgb, "shoes"
      )
    pen.ellipse((x, y - 0.002), 0.021, 0.012, skin, "other", outline=False)
  else:
    pen.polygon(toe, mix(rgb, (0, 0, 0), 0.4), "shoes", outline=False)


def draw_hips(pen: Pen, person: Person, body: Body, pose: Pose) -> None:
  """Draws the part of trousers or shorts above the legs, or a whole skirt."""
  bottom = person.attributes.get("bottom")
  if bottom is None:
    return
  rgb, hip = person.paint["bottom_colour"], body.hip
  if bottom == "skirt":
    spread = max(abs(leg[1][0]) for leg in pose.legs) * 0.75 + 0.035
    low = max(hip * 1.3, spread)
    skirt = mirrored([(body.waist * 1.02, 0.44), (hip * 1.06, 0.5), (low, 0.665)])
    pen.polygon(skirt, rgb, "bottom")
    for x in (-0.5, 0.1, 0.6):
      pen.line([(x * hip, 0.52), (x * low, 0.655)], 0.006, edge(rgb))
    return
  pelvis = mirrored([(body.waist * 1.02, 0.44), (hip * 1.04, 0.49), (hip * 0.98, 0.525), (0.0, 0.55)])
  pen.polygon(smooth(pelvis, 2), rgb, "bottom", outline=False)
  if not pose.is_side:
    pen.line([(0, 0.5), (0, 0.58)], 0.006, edge(rgb))
