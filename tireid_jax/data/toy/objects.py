"""Plain objects of the generic domain, drawn around (0, 0) in roughly a unit square."""

from collections.abc import Callable

import numpy as np

from tireid_jax.data.toy.canvas import Pen, mirrored
from tireid_jax.data.toy.palette import RGB, contrast_with, edge, mix


def _ball(pen, rgb):
  pen.ellipse((0, 0), 0.5, 0.5, rgb)
  pen.ellipse((-0.15, -0.17), 0.12, 0.1, mix(rgb, (255, 255, 255), 0.5), outline=False)


def _cube(pen, rgb):
  pen.polygon([(-0.45, -0.2), (0.2, -0.2), (0.2, 0.5), (-0.45, 0.5)], rgb)
  pen.polygon([(-0.45, -0.2), (-0.2, -0.45), (0.45, -0.45), (0.2, -0.2)], mix(rgb, (255, 255, 255), 0.3))
  pen.polygon([(0.2, -0.2), (0.45, -0.45), (0.45, 0.25), (0.2, 0.5)], mix(rgb, (0, 0, 0), 0.25))


def _car(pen, rgb):
  pen.polygon([(-0.3, -0.08), (-0.18, -0.3), (0.2, -0.3), (0.34, -0.08)], mix(rgb, (190, 214, 230), 0.7))
  pen.polygon([(-0.56, -0.08), (0.54, -0.08), (0.58, 0.18), (-0.58, 0.18)], rgb)
  for x in (-0.32, 0.32):
    pen.ellipse((x, 0.19), 0.13, 0.13, (44, 44, 48))
    pen.ellipse((x, 0.19), 0.05, 0.05, (190, 190, 194), outline=False)


def _house(pen, rgb):
  pen.polygon([(-0.42, -0.1), (0.42, -0.1), (0.42, 0.5), (-0.42, 0.5)], rgb)
  pen.polygon([(-0.54, -0.1), (0, -0.56), (0.54, -0.1)], edge(rgb))
  pen.polygon([(-0.1, 0.14), (0.1, 0.14), (0.1, 0.5), (-0.1, 0.5)], contrast_with(rgb))


def _flower(pen, rgb):
  pen.line([(0, 0), (0, 0.75)], 0.06, (60, 130, 64))
  for angle in np.arange(6) * np.pi / 3:
    pen.ellipse((0.24 * np.cos(angle), 0.24 * np.sin(angle)), 0.17, 0.17, rgb)
  pen.ellipse((0, 0), 0.12, 0.12, contrast_with(rgb))


def _star(pen, rgb):
  angles = np.arange(10) * np.pi / 5
  radii = np.where(np.arange(10) % 2, 0.24, 0.56)
  pen.polygon([(r * np.sin(a), -r * np.cos(a)) for a, r in zip(angles, radii, strict=True)], rgb)


def _chair(pen, rgb):
  for x in (-0.3, 0.26):
    pen.polygon([(x, 0.1), (x + 0.06, 0.1), (x + 0.06, 0.66), (x, 0.66)], mix(rgb, (0, 0, 0), 0.3))
  pen.polygon([(-0.34, -0.62), (-0.24, -0.62), (-0.24, 0.1), (-0.34, 0.1)], rgb)
  pen.polygon([(-0.36, 0.06), (0.38, 0.06), (0.38, 0.18), (-0.36, 0.18)], rgb)


def _balloon(pen, rgb):
  pen.line([(0, 0.3), (0.05, 0.6), (-0.03, 0.9)], 0.02, (120, 120, 124))
  pen.polygon(mirrored([(0, 0.26), (0.06, 0.34)]), rgb)
  pen.ellipse((0, -0.14), 0.38, 0.44, rgb)


OBJECTS: dict[str, Callable[[Pen, RGB], None]] = {
  "ball": _ball,
  "cube": _cube,
  "car": _car,
  "house": _house,
  "flower": _flower,
  "star": _star,
  "chair": _chair,
  "balloon": _balloon,
}
