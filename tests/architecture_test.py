"""The diagram of the rooms matches the code."""

import re

from docs import rooms
from tests import imports_test


def test_the_diagram_is_up_to_date():
  written = rooms.DOCUMENT.read_text()
  assert rooms.written(written, rooms.diagram()) == written, "run python -m docs.rooms"


def test_the_diagram_shows_exactly_the_rooms_whose_imports_are_checked():
  diagram = rooms.DOCUMENT.read_text().partition(rooms.BEGIN)[2].partition(rooms.END)[0]
  assert set(re.findall(r'\["(.+)"\]', diagram)) == {room.replace(".", "/") for room in imports_test.DEPTHS}


def test_edges_implied_by_a_longer_path_are_omitted():
  edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
  assert rooms.without_implied(edges) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
