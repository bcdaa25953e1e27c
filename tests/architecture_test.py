"""The picture of the rooms is that of the code."""

import re

from docs import rooms
from tests import imports_test


def test_the_picture_is_up_to_date():
  written = rooms.DOCUMENT.read_text()
  assert rooms.written(written, rooms.diagram()) == written, "run python -m docs.rooms"


def test_the_rooms_in_the_picture_are_those_whose_imports_are_checked():
  picture = rooms.DOCUMENT.read_text().partition(rooms.BEGIN)[2].partition(rooms.END)[0]
  assert set(re.findall(r'\["(.+)"\]', picture)) == {room.replace(".", "/") for room in imports_test.DEPTHS}


def test_an_edge_that_a_longer_path_implies_is_left_out():
  edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
  assert rooms.without_implied(edges) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
