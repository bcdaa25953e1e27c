"""Images that lie under another spelling of their annotated path."""

import unicodedata

import pytest

from tireid_jax.data.raw.near_match import near_match


def make(folder, *paths):
  for path in paths:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.mark.parametrize(
  ("annotated", "there"),
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
def test_the_file_that_is_meant_is_found(tmp_path, annotated, there):
  make(tmp_path, there, "other/1.jpg")
  assert near_match(tmp_path, annotated) == there


@pytest.mark.parametrize("annotated", ["0001/0.jpg", "", ".", "0000", "0000/0.png"])
def test_without_a_likely_file_there_is_none(tmp_path, annotated):
  make(tmp_path, "0000/0.jpg")
  assert near_match(tmp_path, annotated) == ""


def test_of_two_likely_files_neither_is_guessed(tmp_path):
  make(tmp_path, "a.jpg", "a.jpeg")
  assert near_match(tmp_path, "A.jpg") == ""


def test_no_match_leads_out_of_the_folder(tmp_path):
  make(tmp_path / "images", "0.jpg")
  make(tmp_path, "secret.jpg")
  assert near_match(tmp_path / "images", "../secret.jpg") == ""
