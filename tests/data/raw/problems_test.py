"""Problems are counted by kind, the first ten of each kind are listed, and each is described in one line."""

import pytest

from tireid_jax.data.raw import problems
from tireid_jax.data.raw.problems import Problem


def missing(path):
  return Problem("missing image", path, "is not there")


def test_problems_are_counted_by_kind_and_the_first_ten_are_listed():
  found = [missing(f"{n}.jpg") for n in range(12)]
  found.insert(3, Problem("short caption", "a man", "has fewer than 3 words"))
  summary = problems.summary(found)
  assert list(summary) == ["missing image", "short caption"]
  assert summary["missing image"]["count"] == 12
  assert summary["missing image"]["first"] == [f"{n}.jpg is not there" for n in range(10)]
  assert (summary["missing image"]["is_error"], summary["short caption"]["is_error"]) == (True, False)


def test_no_problems_give_an_empty_summary_and_no_error():
  assert problems.summary([]) == {}
  problems.raise_errors([], "a.json", "imgs")


def test_an_unknown_kind_is_rejected():
  with pytest.raises(ValueError, match="no kind of problem 'mising image'; the kinds are unusable entry, "):
    Problem("mising image", "a.jpg", "is not there")


@pytest.mark.parametrize(
  ("place", "expected"),
  [
    ("two\nlines.jpg", r"two\nlines.jpg is not there"),
    ("half \ud83d.jpg", r"half \ud83d.jpg is not there"),
    ("Käse 人.jpg", "Käse 人.jpg is not there"),
    ("a" * 200, "a" * 97 + "... is not there"),
  ],
)
def test_a_problem_is_one_line_that_any_terminal_can_show(place, expected):
  assert str(missing(place)) == expected


def test_an_error_counts_all_and_lists_three_unusable_entries_rather_than_missing_images():
  found = [missing("a.jpg"), Problem("repeated image", "b.jpg", "is given again")]
  with pytest.raises(FileNotFoundError, match=r"^x\.json: 1 images that are not there: a\.jpg \(below imgs\)$"):
    problems.raise_errors(found, "x.json", "imgs")
  found += [Problem("no caption", f"{n}.jpg", "has no caption") for n in range(4)]
  with pytest.raises(ValueError) as error:
    problems.raise_errors(found, "x.json", "imgs")
  named = "; ".join(f"{n}.jpg has no caption" for n in range(3))
  assert str(error.value) == f"x.json: 4 unusable entries: {named}; ..."


def test_remarks_alone_do_not_raise():
  problems.raise_errors([Problem("repeated image", "b.jpg", "is given again")], "x.json", "imgs")
