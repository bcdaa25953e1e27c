"""The picture of how a step scales."""

import numpy as np
from PIL import ImageColor

from tireid_jax.plan import plot


def heights(picture, colour, x):
  """Returns how far from the top a colour is found in a column of the plot, on average; None where it is not."""
  pixels = np.asarray(picture)[:, round(x)]
  rows = np.flatnonzero((pixels == ImageColor.getrgb(colour)).all(-1))
  rows = rows[rows > plot.TOP - 10]  # below the legend, which has the colours too
  return rows.mean() if len(rows) else None


def test_each_line_is_where_its_rates_are():
  # A hundred times the chips: so many times the rate if sending costs nothing, and none more if it costs the rest.
  picture = plot.scaling_plot([(1, 100.0, 100.0), (100, 10_000.0, 100.0)], "title")
  top, bottom = plot.TOP, plot.HEIGHT - plot.BOTTOM
  left, right = plot.LEFT, plot.WIDTH - plot.RIGHT
  middle = (left + right) / 2
  assert abs(heights(picture, plot.BESIDE, left) - bottom) <= 3
  assert abs(heights(picture, plot.BESIDE, right) - top) <= 3
  assert abs(heights(picture, plot.BESIDE, middle) - (top + bottom) / 2) <= 3
  assert abs(heights(picture, plot.AFTER, middle) - bottom) <= 3


def test_the_proportional_line_shows_where_a_step_falls_behind():
  picture = plot.scaling_plot([(1, 100.0, 90.0), (100, 1_000.0, 900.0)], "title")
  right = plot.WIDTH - plot.RIGHT
  assert heights(picture, plot.IDEAL, right) < heights(picture, plot.BESIDE, right)


def test_one_point_is_a_picture_too():
  assert plot.scaling_plot([(4, 128.0, 64.0)], "title").size == (plot.WIDTH, plot.HEIGHT)
