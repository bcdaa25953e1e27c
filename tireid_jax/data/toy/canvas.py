"""A canvas with a segmentation map: colours are painted at three times the size, part labels at the final size."""

import contextlib
import math
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from tireid_jax.data.toy.palette import RGB, edge

Point = tuple[float, float]

# The image is painted this many times larger and downsampled at the end, which antialiases edges.
SUPERSAMPLING = 3
# Labels of the segmentation map, from which visible areas are counted. "other" occludes without being counted itself.
PARTS = (
  "other",
  "face",
  "hair",
  "tail",
  "hat",
  "top",
  "logo",
  "under",
  "bottom",
  "shoes",
  "bag",
  "held",
)
PART_NUMBERS = {name: number for number, name in enumerate(PARTS)}
OUTLINE_PIXELS = 2
PATTERN_PERIOD = 0.047


class Canvas:
  """An image of `width` x `height` logical pixels, painted larger, and the part label of each logical pixel."""

  def __init__(self, backdrop: Image.Image, width: int, height: int):
    self.size = (width, height)
    self.picture = backdrop.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)
    self.parts = Image.new("L", self.size, 0)
    self._ink = ImageDraw.Draw(self.picture)
    self._marks = ImageDraw.Draw(self.parts)
    self._is_counting = True

  @contextlib.contextmanager
  def uncounted(self) -> Iterator[None]:
    """Labels everything painted within the context as "other", for persons other than the one pictured."""
    self._is_counting = False
    yield
    self._is_counting = True

  def _number(self, part: str) -> int:
    return PART_NUMBERS[part] if self._is_counting else PART_NUMBERS["other"]

  def polygon(self, points: Sequence[Point], rgb: RGB, part: str | None = None, outline: RGB | None = None):
    """Paints a polygon; with `part` None, for details, the labels below it do not change."""
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    self._ink.polygon(large, fill=rgb)
    if outline is not None:
      self._ink.line([*large, large[0]], fill=outline, width=OUTLINE_PIXELS, joint="curve")
    if part is not None:
      self._marks.polygon(points, fill=self._number(part))

  def ellipse(self, box: tuple[float, float, float, float], rgb: RGB, part: str | None, outline: RGB | None):
    """Paints the ellipse within `box` (left, top, right, bottom)."""
    left, top, right, bottom = (value * SUPERSAMPLING for value in box)
    self._ink.ellipse((left, top, right, bottom), fill=rgb, outline=outline, width=OUTLINE_PIXELS)
    if part is not None:
      self._marks.ellipse(box, fill=self._number(part))

  def line(self, points: Sequence[Point], width: float, rgb: RGB, part: str | None):
    """Paints a line through `points`, `width` logical pixels wide."""
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    self._ink.line(large, fill=rgb, width=max(1, round(width * SUPERSAMPLING)), joint="curve")
    if part is not None:
      self._marks.line(list(points), fill=self._number(part), width=max(1, round(width)))

  def blend(self, points: Sequence[Point], paint: Image.Image | RGB, opacity: float):
    """Blends `paint` (a colour, or an image of the polygon's bounding box at painted size) into a polygon."""
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    box = bounds(large)
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
    ImageDraw.Draw(mask).polygon([(x - box[0], y - box[1]) for x, y in large], fill=round(255 * opacity))
    self.picture.paste(paint, box if isinstance(paint, tuple) else box[:2], mask)

  def areas(self) -> dict[str, int]:
    """Returns the number of logical pixels of each part."""
    histogram = self.parts.histogram()
    return {name: histogram[number] for name, number in PART_NUMBERS.items()}


def bounds(points: Sequence[Point]) -> tuple[int, int, int, int]:
  """Returns the whole-pixel box (left, top, right, bottom) around `points`."""
  columns, rows = zip(*points, strict=True)
  return math.floor(min(columns)), math.floor(min(rows)), math.ceil(max(columns)) + 1, math.ceil(max(rows)) + 1


class Pen:
  """Paints in figure coordinates: x to the right of the body axis, y down from the crown, in units of body height."""

  def __init__(self, canvas: Canvas, x: float, y: float, height: float, *, mirror: bool = False, breadth: float = 1.0):
    self.canvas = canvas
    self.x, self.y, self.height = x, y, height
    self.across = -height * breadth if mirror else height * breadth

  def to_pixels(self, points: Sequence[Point]) -> list[Point]:
    # Rounded to 1/64 pixel, so that pixels do not depend on the last bit of a sine.
    return [
      (round((self.x + x * self.across) * 64) / 64, round((self.y + y * self.height) * 64) / 64) for x, y in points
    ]

  def polygon(self, points, rgb, part=None, *, texture=None, outline=True):
    """Paints a polygon; `texture` is (pattern, second colour) of patterned cloth."""
    placed = self.to_pixels(points)
    line = edge(rgb) if outline else None
    if texture is None:
      self.canvas.polygon(placed, rgb, part, line)
      return
    self.canvas.polygon(placed, rgb, part)
    self._lay_texture(placed, rgb, texture)
    if line:
      self.canvas.line([*placed, placed[0]], OUTLINE_PIXELS / SUPERSAMPLING, line, None)

  def limb(self, joints, radii, rgb, part=None, *, texture=None, outline=True, open_end=False):
    """Paints a tube through `joints` with a radius at each; ends are round, or the last is flat with `open_end`."""
    self.polygon(tube(joints, radii, open_end), rgb, part, texture=texture, outline=outline)

  def ellipse(self, centre, rx, ry, rgb, part=None, *, outline=True):
    (left, top), (right, bottom) = self.to_pixels([(centre[0] - rx, centre[1] - ry), (centre[0] + rx, centre[1] + ry)])
    box = (min(left, right), top, max(left, right), bottom)
    self.canvas.ellipse(box, rgb, part, edge(rgb) if outline else None)

  def line(self, points, width, rgb, part=None):
    self.canvas.line(self.to_pixels(points), width * self.height, rgb, part)

  def shade(self, points, opacity=0.16):
    """Darkens the inside of a polygon."""
    self.canvas.blend(self.to_pixels(points), (0, 0, 0), opacity)

  def _lay_texture(self, placed, rgb, texture):
    kind, second = texture
    box = bounds([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in placed])
    period = PATTERN_PERIOD * self.height * SUPERSAMPLING
    origin = (self.x * SUPERSAMPLING - box[0], self.y * SUPERSAMPLING - box[1])
    tile = cloth(kind, (box[2] - box[0], box[3] - box[1]), origin, period, rgb, second)
    self.canvas.blend(placed, tile, 1.0)


def cloth(kind: str, size: tuple[int, int], origin: Point, period: float, rgb: RGB, second: RGB) -> Image.Image:
  """Returns an image of cloth of `size` painted pixels whose pattern is aligned with `origin`."""
  tile = Image.new("RGB", size, rgb)
  ink = ImageDraw.Draw(tile)
  width, height = size
  columns = [origin[0] % period + period * (k - 1) for k in range(int(width / period) + 3)]
  rows = [origin[1] % period + period * (k - 1) for k in range(int(height / period) + 3)]
  if kind == "stripes":
    for y in rows:
      ink.rectangle((0, y, width, y + period * 0.44), fill=second)
  elif kind == "vertical":
    for x in columns:
      ink.rectangle((x - period * 0.22, 0, x + period * 0.16, height), fill=second)
  elif kind == "checks":
    middle = tuple((a + b) // 2 for a, b in zip(rgb, second, strict=True))
    for x in columns:
      ink.rectangle((x - period * 0.25, 0, x + period * 0.25, height), fill=middle)
    for y in rows:
      ink.rectangle((0, y, width, y + period * 0.5), fill=middle)
    for x in columns:
      for y in rows:
        ink.rectangle((x - period * 0.25, y, x + period * 0.25, y + period * 0.5), fill=second)
  elif kind == "dots":
    radius = period * 0.27
    for number, y in enumerate(rows):
      for x in columns:
        centre = x + (period / 2 if number % 2 else 0)
        ink.ellipse((centre - radius, y - radius, centre + radius, y + radius), fill=second)
  return tile


def tube(joints: Sequence[Point], radii: Sequence[float], open_end: bool = False) -> list[Point]:
  """Returns the outline of a tube through `joints` with `radii`; the start is round, the end too unless `open_end`."""
  normals = []
  for index in range(len(joints)):
    before, after = joints[max(0, index - 1)], joints[min(len(joints) - 1, index + 1)]
    dx, dy = after[0] - before[0], after[1] - before[1]
    length = math.hypot(dx, dy) or 1.0
    normals.append((-dy / length, dx / length))
  sides = [
    [(x + sign * nx * r, y + sign * ny * r) for (x, y), (nx, ny), r in zip(joints, normals, radii, strict=True)]
    for sign in (1, -1)
  ]
  end = [] if open_end else _cap(joints[-1], normals[-1], radii[-1])
  start = _cap(joints[0], (-normals[0][0], -normals[0][1]), radii[0])
  return [*sides[0], *end, *reversed(sides[1]), *start]


def _cap(centre: Point, normal: Point, radius: float) -> list[Point]:
  """Returns inner points of the half circle from `normal` to its opposite."""
  count = 5
  start = math.atan2(normal[1], normal[0])
  angles = [start - math.pi * k / (count + 1) for k in range(1, count + 1)]
  return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def smooth(points: Sequence[Point], steps: int = 3) -> list[Point]:
  """Returns a closed curve through `points` (Catmull-Rom), `steps` points per span."""
  count = len(points)
  curve: list[Point] = []
  for index in range(count):
    p0, p1, p2, p3 = (points[(index + k) % count] for k in (-1, 0, 1, 2))
    for step in range(steps):
      t = step / steps
      x, y = (
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
      )
      curve.append((x, y))
  return curve


def mirrored(right: Sequence[Point]) -> list[Point]:
  """Returns the closed symmetric outline whose right half, from top to bottom, is `right`."""
  return [*right, *((-x, y) for x, y in reversed(right))]
