"""Entries as rows of Milvus, and filters as its expressions."""

import numpy as np
import pytest

from tireid_jax.search import milvus_rows
from tireid_jax.search.entries import Entry
from tireid_jax.search.where import Where


@pytest.mark.parametrize(
  "entry",
  [
    Entry("a/ä.png", 5, 2**60, (1, -2, 3, 4), "c", "2026-05-01"),
    Entry("\\x/\udcff\\udcff\\\\udcff.png", 0, 0, None, "\\", ""),
  ],
)
def test_an_entry_is_read_back_as_it_was_stored_and_all_its_text_is_unicode(entry):
  row = milvus_rows.to_row(np.zeros(3, np.float32), entry)
  for value in row.values():
    if isinstance(value, str):
      value.encode()
  assert milvus_rows.to_entry(row) == entry


def test_boxes_of_one_image_have_different_primary_keys():
  whole, box = Entry("a", 0, 0), Entry("a", 0, 0, (1, 2, 3, 4))
  first, second = (milvus_rows.id_of(entry.key) for entry in (whole, box))
  assert first != second
  assert len(first) == 32


@pytest.mark.parametrize(
  ("where", "expected"),
  [
    (None, ""),
    (Where(), ""),
    (Where(cameras=("a", 'b"\\\n')), r'camera in ["a", "b\"\\\\\n"]'),
    (Where(start="1970-01-01T00:01", end="90"), "seconds >= 60.0 and seconds <= 90.0"),
    (Where(end="-1", folders=("a/", "b")),
     'seconds <= -1.0 and ((path >= "a/" and path < "a0") or (path >= "b/" and path < "b0"))'),
  ],
)  # fmt: skip
def test_a_filter_is_an_expression_whose_texts_cannot_end_it(where, expected):
  assert milvus_rows.to_filter(where) == expected
