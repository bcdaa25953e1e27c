"""Line charts: round tick values and correctly positioned points."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tireid_jax.reporting import svg_chart


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0.04, 0.31, [0, 0.1, 0.2, 0.3, 0.4]),
    (0, 63, [0, 20, 40, 60, 80]),
    (-3, 4, [-4, -2, 0, 2, 4]),
    (0, 0, [0]),
  ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, expected):
  assert svg_chart.ticks(low, high, 5) == expected


def chart(series, **options):
  return ElementTree.fromstring(svg_chart.line_chart(series, label="a chart", **options))


def polylines(svg):
  return [
    [tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in svg.iter("polyline")
  ]


def test_steps_increase_to_the_right_and_values_upwards():
  ((first, second),) = polylines(chart({"loss": [(10, 3.0), (20, 1.0)]}))
  assert first[0] < second[0]
  assert first[1] < second[1]  # SVG counts from the top


def test_the_ends_of_the_range_are_at_the_edges_of_the_plot():
  ((first, last),) = polylines(chart({"R@1": [(0, 0.0), (100, 80.0)]}, y_range=(0, 80)))
  assert first == (svg_chart.LEFT, svg_chart.HEIGHT - svg_chart.BOTTOM)
  assert last == (svg_chart.WIDTH - svg_chart.RIGHT, svg_chart.TOP)


@pytest.mark.parametrize("line", [[(7, 2.5)], [(1, 2.0), (2, 2.0)], [(0, 0.0)]])
def test_a_single_point_or_a_flat_line_is_inside_the_chart(line):
  (points,) = polylines(chart({"loss": line}))
  assert all(0 <= x <= svg_chart.WIDTH and 0 <= y <= svg_chart.HEIGHT for x, y in points)


def test_each_line_has_a_color_and_tooltips_with_its_values():
  svg = chart({"a < b": [(1, 0.5), (2000, 0.25)], "c": [(1, 1.0), (2000, 2.0)]}, unit="%")
  assert {group.get("class") for group in svg.iter("g")} == {"line s0", "line s1", "point"}
  titles = [title.text for title in svg.iter("title")]
  assert "a < b 0.25% at step 2,000" in titles
  assert len(titles) == 4


def test_a_long_line_has_every_value_but_few_tooltips():
  svg = chart({"loss": [(step, 1 / step) for step in range(1, 2001)]})
  assert len(polylines(svg)[0]) == 2000
  assert 20 <= len(list(svg.iter("title"))) <= svg_chart.MAX_DOTS
  assert len(re.findall("hidden", ElementTree.tostring(svg, encoding="unicode"))) <= svg_chart.MAX_DOTS


def test_a_histogram_has_its_own_range_and_shaded_areas_down_to_the_axis():
  svg = chart({"a": [(-0.5, 0.0), (0.0, 40.0)]}, x_range=(-0.5, 0.5), x_name="cos", y_range=(0, 80), is_filled=True)
  middle = (svg_chart.LEFT + svg_chart.WIDTH - svg_chart.RIGHT) / 2
  ((first, last),) = polylines(svg)
  assert (first[0], last[0]) == (svg_chart.LEFT, middle)
  (area,) = svg.iter("polygon")
  corners = [tuple(map(float, corner.split(","))) for corner in area.get("points").split()]
  bottom = svg_chart.HEIGHT - svg_chart.BOTTOM
  assert corners == [(svg_chart.LEFT, bottom), first, last, (middle, bottom)]
  assert "a 40 at cos 0.0" in [title.text for title in svg.iter("title")]
