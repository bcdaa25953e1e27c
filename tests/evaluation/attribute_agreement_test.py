"""Agreement of the first image with what captions mention, counted by hand."""

import numpy as np
import pytest

from tireid_jax.evaluation.attribute_agreement import agreements

MENTIONED = [{"hat": "cap", "top": "coat"}, {"hat": "cap"}, {"top": "coat"}, {"hat": "hat"}]
FOUND = [{"hat": "cap", "top": "vest"}, {"top": "coat"}, {"top": "coat"}, {"hat": "cap"}]
GALLERY = [{"hat": "cap"}, {"hat": "cap", "top": "coat"}, {"top": "vest"}, {}, {"hat": "hat"}]
IS_RIGHT = np.array([True, False, True, False])


def test_each_attribute_is_compared_over_the_captions_that_mention_it():
  hat, top = agreements(MENTIONED, FOUND, GALLERY, IS_RIGHT)
  assert (hat.name, hat.value, hat.num_captions) == ("hat", "", 3)
  assert (hat.recall_at_1, hat.recall_without) == (pytest.approx(100 / 3), 100.0)
  assert hat.agrees == pytest.approx(100 / 3)
  # Of five images, two show a cap and one a hat; two captions mention a cap and one a hat.
  assert hat.by_chance == pytest.approx(100 * (2 / 5 + 2 / 5 + 1 / 5) / 3)
  assert hat.above_chance == 0.0
  assert hat.instead == (("none", 1), ("cap", 1))
  assert (top.name, top.agrees, top.by_chance, top.above_chance) == ("top", 50.0, 20.0, 37.5)
  assert top.instead == (("vest", 1),)


def test_each_value_can_be_reported_by_itself():
  rows = agreements(MENTIONED, FOUND, GALLERY, IS_RIGHT, by_value=True)
  assert [(row.name, row.value, row.num_captions, row.agrees) for row in rows] == [
    ("hat", "cap", 2, 50.0), ("hat", "hat", 1, 0.0), ("top", "coat", 2, 50.0),
  ]  # fmt: skip
  assert rows[1].instead == (("cap", 1),)
  assert rows[1].by_chance == 20.0


def test_an_attribute_of_all_captions_and_images_has_nothing_to_compare_with():
  (row,) = agreements([{"top": "coat"}], [{"top": "coat"}], [{"top": "coat"}], np.array([True]))
  assert np.isnan(row.recall_without)
  assert (row.agrees, row.by_chance, row.above_chance) == (100.0, 100.0, 100.0)
