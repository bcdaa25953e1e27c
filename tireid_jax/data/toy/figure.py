"""A whole person, drawn from back to front."""

import math

from tireid_jax.data.toy import bottoms, head, things, tops
from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.body import measure, stand
from tireid_jax.data.toy.canvas import Pen


def draw_person(pen: Pen, person: Person, view: str, *, phase: float, stride: float, light: int) -> None:
  """Draws a person in `view` at `phase` of the gait; light comes from the right (+1) or left (-1) of the image.

  For the view "left" the pen must be mirrored: side views are designed walking to the right.
  """
  attributes = person.attributes
  is_side = view in ("left", "right")
  body = measure(attributes["gender"], attributes["build"], is_side)
  pose = things.pose_with_things(person, body, stand(view, body, phase=phase, stride=stride))
  light = -light if view == "left" else light

  things.draw_held(pen, person, pose, behind=True)
  things.draw_bag(pen, person, body, pose, behind=True)
  head.draw_hair_behind(pen, person, view)
  early = [index for index in (0, 1) if (is_side and index == 0) or things.is_bent_away(person, pose, index)]
  for index in early:
    tops.draw_arm(pen, person, body, pose, index)

  bare_legs = attributes.get("bottom") in (None, "skirt")
  order = (0, 1) if is_side or math.sin(phase) < 0 else (1, 0)
  bottoms.draw_leg(pen, person, body, pose, order[0])
  if bare_legs:
    bottoms.draw_leg(pen, person, body, pose, order[1])
  bottoms.draw_hips(pen, person, body, pose)
  if not bare_legs:
    bottoms.draw_leg(pen, person, body, pose, order[1])

  head.draw_neck(pen, person)
  tops.draw_torso(pen, person, body, pose, light)
  things.draw_straps(pen, person, body, pose)
  head.draw_head(pen, person, view)
  for index in (0, 1):
    if index not in early:
      tops.draw_arm(pen, person, body, pose, index)
  things.draw_bag(pen, person, body, pose, behind=False)
  things.draw_held(pen, person, pose, behind=False)
