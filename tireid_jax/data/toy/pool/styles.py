"""Drawing styles: how primitives are painted on a canvas, and what happens to the finished picture."""

# ruff: noqa: E501  one table row per line

import numpy as np
from PIL import Image, ImageFilter, ImageFont

from tireid_jax.data.toy.canvas import SUPERSAMPLING, Canvas
from tireid_jax.data.toy.palette import RGB, mix

BLACK: RGB = (24, 24, 28)
# Name of the style: (weight, words for the picture). Styles in COLOURLESS show no colours to mention.
STYLES: dict[str, tuple[float, tuple[str, ...]]] = {
  "flat": (0.26, ("a flat illustration", "a clip art", "a graphic", "an icon", "a vector image", "a simple illustration")),
  "cutout": (0.18, ("a sticker", "a paper cutout", "a collage", "a drawing", "an illustration", "a rendering")),
  "bold": (0.17, ("a cartoon", "a comic", "a cartoon drawing", "an animated picture", "a coloring book page")),
  "lines": (0.08, ("a line drawing", "a colored outline", "a doodle", "a pen drawing", "an ink drawing")),
  "sketch": (0.09, ("a sketch", "a crayon drawing", "a child's drawing", "a rough scribble", "a pencil drawing")),
  "pixels": (0.07, ("a pixel art picture", "a pixelated image", "a low resolution photo", "a video game sprite")),
  "soft": (0.05, ("a blurry picture", "a blurred photo", "a watercolor painting", "an out of focus photo")),
  "grain": (0.05, ("a noisy photo", "a grainy picture", "an old film photo", "a poster print")),
  "grey": (0.03, ("a black and white photo", "a grayscale picture", "a monochrome image")),
  "silhouette": (0.01, ("a silhouette", "a shadow", "a dark outline", "a stencil")),
  "neon": (0.01, ("a neon sign", "a glowing drawing", "a neon drawing")),
}  # fmt: skip
COLOURLESS = ("grey", "silhouette")
# Styles that leave out the patterns of cloth.
PATTERNLESS = ("lines", "neon", "silhouette")
# Colour and width, in painted pixels, of the outlines of these styles.
_OUTLINES: dict[str, tuple[RGB, int]] = {
  "cutout": ((250, 250, 248), 3),
  "bold": (BLACK, 4),
  "sketch": ((110, 110, 116), 2),
  "pixels": (BLACK, 3),
}


class StyledCanvas(Canvas):
  """A canvas without a segmentation map that paints in one of STYLES."""

  def __init__(self, backdrop: Image.Image, width: int, height: int, style: str, rng: np.random.Generator):
    super().__init__(backdrop, width, height)
    self._style, self._rng = style, rng
    self._paper = backdrop.getpixel((backdrop.width // 2, backdrop.height // 2))

  def polygon(self, points, rgb, part=None, outline=None):
    del part
    if self._style == "sketch":
      points = self._shaken(points)
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    fill = self._fill(rgb)
    if fill is not None:
      self._ink.polygon(large, fill=fill)
    line, width = self._outline(rgb, outline)
    if line is not None:
      self._ink.line([*large, large[0]], fill=line, width=width, joint="curve")

  def ellipse(self, box, rgb, part, outline):
    del part
    fill, (line, width) = self._fill(rgb), self._outline(rgb, outline)
    large = tuple(value * SUPERSAMPLING for value in box)
    self._ink.ellipse(large, fill=fill, outline=line, width=width if line is not None else 0)

  def line(self, points, width, rgb, part):
    del part
    if self._style == "sketch":
      points = self._shaken(points)
    large = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
    self._ink.line(large, fill=BLACK if self._style == "silhouette" else rgb,
                   width=max(2, round(width * SUPERSAMPLING)), joint="curve")  # fmt: skip

  def text(self, text: str, rgb: RGB, height: float) -> None:
    """Paints `text` in the middle, in a font of `height` logical pixels."""
    width, tall = self.picture.size
    font = ImageFont.load_default(SUPERSAMPLING * height)
    self._ink.text((width / 2, tall / 2), text, rgb, font, anchor="mm")

  def blend(self, points, paint, opacity):
    if self._style not in ("lines", "silhouette", "neon"):
      super().blend(points, paint, opacity)

  def finish(self, width: int, height: int) -> np.ndarray:
    """Returns u8[height, width, 3] pixels."""
    picture = self.picture
    if self._style == "pixels":
      small = picture.resize((width // 2, height // 2), Image.Resampling.BOX)
      return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
    picture = picture.resize((width, height), Image.Resampling.BOX)
    if self._style == "soft":
      picture = picture.filter(ImageFilter.BoxBlur(0.9))
    if self._style == "grey":
      picture = picture.convert("L").convert("RGB")
    if self._style == "grain":
      pixels = np.asarray(picture, np.int16)
      noise = self._rng.integers(-26, 27, pixels.shape[:2], np.int16)[..., None]
      return np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return np.asarray(picture)

  def _fill(self, rgb):
    if self._style == "silhouette":
      return BLACK
    if self._style == "lines":
      return self._paper
    if self._style == "neon":
      return BLACK
    return mix(rgb, (255, 255, 255), 0.12) if self._style == "sketch" else rgb

  def _outline(self, rgb, outline):
    """Returns (colour or None, width in painted pixels) of the outline; none is the thin dark one of ToyPEDES."""
    if self._style in ("lines", "neon"):
      return mix(rgb, (255, 255, 255), 0.25) if self._style == "neon" else rgb, 4
    if outline is None or self._style not in _OUTLINES:
      return None, 0
    return _OUTLINES[self._style]

  def _shaken(self, points):
    shift = self._rng.uniform(-0.7, 0.7, (len(points), 2))
    return [(x + dx, y + dy) for (x, y), (dx, dy) in zip(points, shift.tolist(), strict=True)]
