"""The queries and filters of the command line."""

import itertools
import pathlib

import numpy as np
import pytest

from tireid_jax.errors import UserError
from tireid_jax.search import query, segments, where
from tireid_jax.search.entries import Entry


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("a woman in a red coat", [(1, "a woman in a red coat")]),
    ("red coat + blue bag", [(1, "red coat + blue bag")]),
    ("12:30 a man", [(1, "12:30 a man")]),
    ('2:"red coat" + ./pool.jpg', [(2, "red coat"), (1, pathlib.Path("pool.jpg"))]),
    ('-0.5:"a + b" + "c"', [(-0.5, "a + b"), (1, "c")]),
    ("a b/person 1.JPG", [(1, pathlib.Path("a b/person 1.JPG"))]),
    ("3:../x", [(3, pathlib.Path("../x"))]),
  ],
)
def test_the_grammar_of_a_query(text, parts):
  assert query.parse(text).parts == parts


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("  ", "the query is empty"),
    ('""', "the query is empty"),
    ('0:"coat"', "the weight of a query is 0.0"),
    ("red coat + ./x.jpg", "'red coat' of the query is no image; put a sentence of a mix into double quotes"),
  ],
)
def test_queries_that_make_no_sense(text, message):
  with pytest.raises(UserError, match=message):
    query.parse(text)


def test_a_sentence_that_is_given_to_the_library_is_never_a_file():
  assert query.Query.of("./pool.jpg").parts == [(1.0, "./pool.jpg")]


TABLE = segments.Table(
  segments.pack([
    Entry("a/1.png", 0, 0, camera="c1", time="10"), Entry("ab/2.png", 0, 0, camera="c2", time="20"),
    Entry("3.png", 0, 0),
  ]),
  3,
)  # fmt: skip


@pytest.mark.parametrize(
  ("filters", "expected"),
  [
    ([], [1, 1, 1]),
    (["camera=c1,c2"], [1, 1, 0]),
    (["folder=a/"], [1, 0, 0]),
    (["time=10..15"], [1, 0, 0]),
    (["time=15.."], [0, 1, 0]),
    (["time=..20", "camera=c2"], [0, 1, 0]),
  ],
)
def test_filters_must_all_hold(filters, expected):
  np.testing.assert_array_equal(where.parse(filters).matches(TABLE), np.array(expected, bool))


# Names that differ in a character on either side of "/" in order, or in bytes that are no UTF-8 alone.
NAMES = ["a", "a.", "a0", "é", "\udcc3"]


@pytest.mark.parametrize("folder", ["a", "é/", "/\udcc3", "a/a0", "a./é/a", "", "b", "\ud800"])
def test_a_folder_has_exactly_the_images_whose_paths_begin_with_it(folder):
  paths = ["/".join(parts) for length in (1, 3, 2) for parts in itertools.product(NAMES[::-1], repeat=length)]
  table = segments.Table(segments.pack([Entry(path, 0, 0) for path in [*paths, "/a/a"]]), len(paths) + 1)
  for folders in [(folder,), (folder, "a0/a")]:
    begins = tuple(f"{name.strip('/')}/" for name in folders)
    expected = [path.startswith(begins) for path in [*paths, "/a/a"]]
    assert where.Where(folders=folders).matches(table).tolist() == expected


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("camra=1", "did you mean 'camera'"),
    ("camera=", "has no value"),
    ("time=noon..", "'noon' is neither a number nor"),
    ("time=12", "is no interval"),
  ],
)
def test_filters_that_make_no_sense(text, message):
  with pytest.raises(UserError, match=message):
    where.parse([text])


def test_entries_are_read_back_as_they_were_packed():
  entries = [Entry("ä/\udcff.png", 5, 2**60, (1, -2, 3, 4), "c", "2026-05-01"), Entry("x", 0, 0)]
  table = segments.Table(segments.pack(entries), 2)
  assert [table.entry(i) for i in range(2)] == entries
