"""A canvas that knows what was painted where: colours at three times the size, and a map of parts beside them."""

import contextlib
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from tireid_jax.data.toy.palette import RGB, edge

Point = tuple[float, float]

# Painted this many times larger and reduced at the end, so that edges come out smooth.
SUPERSAMPLING = 3
# Parts whose visible area is counted. What is painted as "other" hides what is under it.
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
  """A picture `width` x `height` logical pixels, painted larger, with a map of which part each pixel shows."""

  def __init__(self, backdrop: Image.Image, width: int, height: int):
    self.size = (width, height)
    self.picture = backdrop.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)
    self.parts = Image.new("L", self.size, 0)
    self._ink = ImageDraw.Draw(self.picture)
    self._marks = ImageDraw.Draw(self.parts)
    self._is_counting = True

  @contextlib.contextmanager
  def uncounted(self):
    """Within it, everything painted counts as "other", whatever its part: what belongs to somebody else."""
    self._is_counting = False
    yield
    self._is_counting = True

  def _number(self, part: str) -> int:
    return PART_NUMBERS[part] if self._is_counting else PART_NUMBERS["other"]

  def polygon(self, points: Sequence[Point], rgb: RGB, part: str | None = None, outline: RGB | None = None):
    """Paints a polygon. With `part` None the map of parts keeps what it has there: a detail of what is below."""
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
    """Lays `paint` (a colour, or an image of the polygon's bounding box at painted size) over a polygon."""
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    box = bounds(large)
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
    ImageDraw.Draw(mask).polygon([(x - box[0], y - box[1]) for x, y in large], fill=round(255 * opacity))
    self.picture.paste(paint, box if isinstance(paint, tuple) else box[:2], mask)

  def areas(self) -> dict[str, int]:
    """Returns how many logical pixels each part covers."""
    histogram = self.parts.histogram()
    return {name: histogram[number] for name, number in PART_NUMBERS.items()}


def bounds(points: Sequence[Point]) -> tuple[int, int, int, int]:
  """Returns the whole-pixel box (left, top, right, bottom) around `points`."""
  columns, rows = zip(*points, strict=True)
  return math.floor(min(columns)), math.floor(min(rows)), math.ceil(max(columns)) + 1, math.ceil(max(rows)) + 1


class Pen:
  """Paints on a canvas in a figure's own units: x right of its axis, y down from the crown, a person's height is 1."""

  def __init__(self, canvas: Canvas, x: float, y: float, height: float, *, mirror: bool = False, breadth: float = 1.0):
    self.canvas = canvas
    self.x, self.y, self.height = x, y, height
    self.across = -height * breadth if mirror else height * breadth

  def place(self, points: Sequence[Point]) -> list[Point]:
    # Rounded to 1/64 pixel, so that the last bit of a sine does not decide which pixel is painted.
    return [
      (round((self.x + x * self.across) * 64) / 64, round((self.y + y * self.height) * 64) / 64) for x, y in points
    ]

  def polygon(self, points, rgb, part=None, *, texture=None, outline=True):
    """Paints a polygon; `texture` is (kind, second colour) for cloth that is not plain."""
    placed = self.place(points)
    line = edge(rgb) if outline else None
    if texture is None:
      self.canvas.polygon(placed, rgb, part, line)
      return
    self.canvas.polygon(placed, rgb, part)
    self._lay_texture(placed, rgb, texture)
    if line:
      self.canvas.line([*placed, placed[0]], OUTLINE_PIXELS / SUPERSAMPLING, line, None)

  def limb(self, joints, radii, rgb, part=None, *, texture=None, outline=True, open_end=False):
    """Paints a tube through `joints`, as wide as `radii` there, round at its ends (or cut off, like a sleeve)."""
    self.polygon(tube(joints, radii, open_end), rgb, part, texture=texture, outline=outline)

  def ellipse(self, centre, rx, ry, rgb, part=None, *, outline=True):
    (left, top), (right, bottom) = self.place([(centre[0] - rx, centre[1] - ry), (centre[0] + rx, centre[1] + ry)])
    box = (min(left, right), top, max(left, right), bottom)
    self.canvas.ellipse(box, rgb, part, edge(rgb) if outline else None)

  def line(self, points, width, rgb, part=None):
    self.canvas.line(self.place(points), width * self.height, rgb, part)

  def shade(self, points, opacity=0.16):
    """Darkens what is painted inside a polygon."""
    self.canvas.blend(self.place(points), (0, 0, 0), opacity)

  def _lay_texture(self, placed, rgb, texture):
    kind, second = texture
    box = bounds([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in placed])
    period = PATTERN_PERIOD * self.height * SUPERSAMPLING
    origin = (self.x * SUPERSAMPLING - box[0], self.y * SUPERSAMPLING - box[1])
    tile = cloth(kind, (box[2] - box[0], box[3] - box[1]), origin, period, rgb, second)
    self.canvas.blend(placed, tile, 1.0)


def cloth(kind: str, size: tuple[int, int], origin: Point, period: float, rgb: RGB, second: RGB) -> Image.Image:
  """Returns a piece of cloth, `size` painted pixels, its pattern in register with `origin`."""
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
  """Returns the outline of a tube through `joints` with `radii`, round at its start, and at its end if not open."""
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
  """Returns points of the half circle from `normal` round to its opposite."""
  count = 5
  start = math.atan2(normal[1], normal[0])
  angles = [start - math.pi * k / (count + 1) for k in range(1, count + 1)]
  return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def smooth(points: Sequence[Point], steps: int = 3) -> list[Point]:
  """Returns a closed curve through `points` (Catmull-Rom), `steps` points a span."""
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
  """Returns the closed outline whose right half is `right`, listed from top to bottom."""
  return [*right, *((-x, y) for x, y in reversed(right))]
