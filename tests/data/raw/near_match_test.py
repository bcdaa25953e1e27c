"""Finding images whose path is spelled differently in the annotation."""

import unicodedata

import pytest

from tireid_jax.data.raw.near_match import near_match


def make(folder, *paths):
  for path in paths:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.mark.parametrize(
  ("annotated", "existing"),
  [
    ("0000\\0.jpg", "0000/0.jpg"),
    ("0000/0.JPG", "0000/0.jpg"),
    ("0000/0.jpeg", "0000/0.jpg"),
    ("0000/0.jpg ", "0000/0.jpg"),
    ("Cam A/0.jpg", "cam a/0.jpg"),
    ("images/0000/0.jpg", "0000/0.jpg"),
    ("data\\set\\images\\0000\\0.jpg", "0000/0.jpg"),
    ("0000//0.jpg", "0000/0.jpg"),
    (unicodedata.normalize("NFC", "José/Ü.jpg"), unicodedata.normalize("NFD", "José/Ü.jpg")),
    (unicodedata.normalize("NFD", "José/Ü.jpg"), unicodedata.normalize("NFC", "José/Ü.jpg")),
  ],
)
def test_a_file_with_a_different_spelling_is_found(tmp_path, annotated, existing):
  make(tmp_path, existing, "other/1.jpg")
  assert near_match(tmp_path, annotated) == existing


@pytest.mark.parametrize("annotated", ["0001/0.jpg", "", ".", "0000", "0000/0.png"])
def test_without_a_similar_file_nothing_is_found(tmp_path, annotated):
  make(tmp_path, "0000/0.jpg")
  assert near_match(tmp_path, annotated) == ""


def test_if_two_files_are_similar_neither_is_chosen(tmp_path):
  make(tmp_path, "a.jpg", "a.jpeg")
  assert near_match(tmp_path, "A.jpg") == ""


def test_no_match_is_outside_the_folder(tmp_path):
  make(tmp_path / "images", "0.jpg")
  make(tmp_path, "secret.jpg")
  assert near_match(tmp_path / "images", "../secret.jpg") == ""
