"""How a step scales, as a picture."""

import math

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1200, 760
LEFT, RIGHT, TOP, BOTTOM = 130, 40, 110, 90
TEXT_SIZE = 24
INK, GRID, IDEAL, BESIDE, AFTER = "#222222", "#dddddd", "#999999", "#1f6fb4", "#d1663a"


def scaling_plot(points, title):
  """Returns a picture of examples a second over chips, both on logarithmic axes.

  Args:
    points: (chips, examples a second, the same if sending comes after the compute), the fewest chips first.
    title: of the picture.
  """
  picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
  draw = ImageDraw.Draw(picture)
  font = ImageFont.load_default(TEXT_SIZE)
  fewest, most = points[0][0], points[-1][0]
  ideal = [(fewest, points[0][1]), (most, points[0][1] * most / fewest)]
  rates = [rate for _, *pair in points for rate in pair] + [rate for _, rate in ideal]
  x = _scale(fewest, most, LEFT, WIDTH - RIGHT)
  low, high = 10 ** math.floor(math.log10(min(rates))), 10 ** math.ceil(math.log10(max(rates)))
  y = _scale(low, high, HEIGHT - BOTTOM, TOP)
  for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
    draw.line([(LEFT, y(10**power)), (WIDTH - RIGHT, y(10**power))], fill=GRID, width=2)
    draw.text((LEFT - 12, y(10**power)), f"{10**power:,}", font=font, fill=INK, anchor="rm")
  for chips in dict.fromkeys(chips for chips, *_ in points):
    draw.text((x(chips), HEIGHT - BOTTOM + 14), f"{chips}", font=font, fill=INK, anchor="mt")
  draw.text((WIDTH / 2, HEIGHT - 14), "chips", font=font, fill=INK, anchor="mb")
  draw.text((LEFT, 18), title, font=font, fill=INK)
  lines = (
    ("in proportion", IDEAL, ideal),
    ("sending after the compute", AFTER, [(chips, after) for chips, _, after in points]),
    ("sending beside the compute", BESIDE, [(chips, beside) for chips, beside, _ in points]),
  )
  place = LEFT
  for name, colour, line in lines:
    places = [(x(chips), y(rate)) for chips, rate in line]
    draw.line(places, fill=colour, width=4)
    for across, down in places:
      draw.ellipse((across - 6, down - 6, across + 6, down + 6), fill=colour)
    draw.line([(place, 76), (place + 40, 76)], fill=colour, width=4)
    draw.text((place + 50, 76), name, font=font, fill=INK, anchor="lm")
    place += 90 + round(draw.textlength(name, font=font))
  return picture


def _scale(low, high, start, end):
  """Returns the function that places values of low..high, by their logarithm, at start..end."""
  span = math.log(high / low) or 1.0
  return lambda value: start + (end - start) * math.log(value / low) / span
