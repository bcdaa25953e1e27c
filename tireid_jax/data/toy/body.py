"""Bodies and poses: measurements by gender and build, joints by view and phase of the gait."""

import dataclasses
import math

from tireid_jax.data.toy.canvas import Point

# "left" and "right" are walking directions in the image; figures are designed for "right" and mirrored for "left".
VIEWS = ("front", "back", "left", "right")
BUILD_WIDTH = {"slim": 0.88, "average": 1.0, "heavy": 1.2}
BUILD_WAIST = {"slim": 0.88, "average": 1.0, "heavy": 1.42}
HIP_Y, KNEE_Y, ANKLE_Y = 0.49, 0.715, 0.93
UPPER_ARM, FOREARM, THIGH, SHIN = 0.155, 0.145, 0.225, 0.215


@dataclasses.dataclass(frozen=True)
class Body:
  """Half widths relative to the person's height, in the view for which the body was measured."""

  shoulder: float
  waist: float
  hip: float
  arm: float
  leg: float


@dataclasses.dataclass(frozen=True)
class Pose:
  """Joints: arms (shoulder, elbow, hand), legs (hip, knee, ankle).

  Index 0 is the limb on the left of the image (front and back views) or the far one (side views); 1 is the other.
  """

  view: str
  arms: tuple[tuple[Point, Point, Point], tuple[Point, Point, Point]]
  legs: tuple[tuple[Point, Point, Point], tuple[Point, Point, Point]]

  @property
  def is_side(self) -> bool:
    return self.view in ("left", "right")

  def limb_index(self, side: int) -> int:
    """Returns the index of the limb on the person's left (`side` +1) or right (-1)."""
    image_left_or_near = {"front": side > 0, "back": side < 0, "right": side < 0, "left": side > 0}
    return int(image_left_or_near[self.view])


def measure(gender: str, build: str, is_side: bool) -> Body:
  """Returns the half widths of a body seen from the front or back, or from a side."""
  wide, round_ = BUILD_WIDTH[build], BUILD_WAIST[build]
  man = gender == "man"
  arm, leg = (0.028 if man else 0.024) * wide, (0.05 if man else 0.047) * wide
  if is_side:
    return Body(0.068 * wide, 0.06 * round_, (0.07 if man else 0.074) * (wide + round_) / 2, arm, leg)
  return Body(
    (0.118 if man else 0.1) * (wide if build != "heavy" else 1.12),
    (0.088 if man else 0.072) * round_,
    (0.09 if man else 0.094) * (wide + round_) / 2,
    arm,
    leg,
  )


def stand(view: str, body: Body, *, phase: float, stride: float) -> Pose:
  """Returns the pose in `view` at `phase` (radians) of the gait; `stride` is 0 standing still, 1 walking briskly."""
  if view in ("left", "right"):
    return _from_the_side(view, phase, stride)
  swing = math.sin(phase) * stride
  arms, legs = [], []
  for sign in (-1, 1):
    forward = swing * sign
    # Seen along the walking direction, a swinging arm looks shorter and turns inwards, and a trailing leg looks raised.
    shoulder = (sign * (body.shoulder - 0.022), 0.204)
    elbow = (sign * (body.shoulder + 0.012 + 0.012 * abs(swing)), 0.345)
    hand = (sign * (body.shoulder + 0.012 - 0.03 * max(0.0, forward)), 0.475 - 0.035 * abs(forward))
    arms.append((shoulder, elbow, hand))
    lift = max(0.0, -forward) * 0.06
    spread = 0.047 + 0.012 * (1 - stride)
    hip = (sign * (body.hip - body.leg * 0.95), HIP_Y)
    legs.append((hip, (sign * spread * 1.02, KNEE_Y - lift * 0.3), (sign * spread * 0.98, ANKLE_Y - lift)))
  return Pose(view, (arms[0], arms[1]), (legs[0], legs[1]))


def _from_the_side(view: str, phase: float, stride: float) -> Pose:
  arms, legs = [], []
  for sign in (-1, 1):
    swing = math.sin(phase) * sign
    thigh = 0.46 * stride * swing + 0.04
    # The knee bends most while its leg swings forward.
    bend = 0.05 + 0.5 * stride * max(0.0, math.cos(phase) * sign) + 0.22 * stride * max(0.0, -swing)
    hip = (0.004 * sign, HIP_Y)
    knee = _reach(hip, thigh, THIGH)
    legs.append((hip, knee, _reach(knee, thigh - bend, SHIN)))
    shoulder = (-0.006, 0.2)
    upper = -0.5 * stride * swing - 0.05
    elbow = _reach(shoulder, upper, UPPER_ARM)
    arms.append((shoulder, elbow, _reach(elbow, upper + 0.22 + 0.3 * stride, FOREARM)))
  sink = ANKLE_Y - max(legs[0][2][1], legs[1][2][1])
  lowered = [
    tuple((x, y + sink * fraction) for (x, y), fraction in zip(leg, (0.0, 0.6, 1.0), strict=True)) for leg in legs
  ]
  return Pose(view, (arms[0], arms[1]), (lowered[0], lowered[1]))  # type: ignore[arg-type]


def _reach(start: Point, angle: float, length: float) -> Point:
  """Returns the point `length` from `start`, `angle` radians forward from straight down."""
  return (start[0] + length * math.sin(angle), start[1] + length * math.cos(angle))


def with_hand(pose: Pose, index: int, elbow: Point, hand: Point) -> Pose:
  """Returns `pose` with one arm bent to hold something."""
  arms = list(pose.arms)
  arms[index] = (arms[index][0], elbow, hand)
  return dataclasses.replace(pose, arms=(arms[0], arms[1]))
