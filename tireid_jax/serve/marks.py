"""Turns marks of search results into an annotation file of configs/custom.py: how users get data of their own.

Of each description, the images that are marked "this" show one person, and each image marked "fits" another person, all
described by it. An image marked "this" for two descriptions makes both describe the same person. Images marked "wrong"
go to a list of their own, since an annotation file has no negatives.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from tireid_jax.search.entries import Entry
from tireid_jax.serve.errors import ApiError, escaped


class Marked(NamedTuple):
  """A mark ("this", "fits" or "wrong") of an image for a description."""

  entry: Entry
  caption: str
  mark: str


class Exported(NamedTuple):
  """JSON lines of the annotations and of the wrong images, and how many persons and images are annotated."""

  annotations: str
  wrong: str
  num_persons: int
  num_images: int


def export(marks: Sequence[Marked]) -> Exported:
  """Returns the files of marks, with images in the order in which they were first marked.

  Raises:
    ApiError: a mark has no description, is of an image that an annotation file cannot name, or contradicts another.
  """
  marks = [mark._replace(caption=" ".join(mark.caption.split())) for mark in marks]
  _check(marks)
  person_of_caption = _persons([mark for mark in marks if mark.mark == "this"])
  person_of_image = {mark.entry.path: person_of_caption[mark.caption] for mark in marks if mark.mark == "this"}
  captions: dict[str, list[str]] = {}
  for mark in marks:
    if mark.mark == "fits" and person_of_image.get(mark.entry.path) == person_of_caption.get(mark.caption, mark):
      raise ApiError(
        422, f"{escaped(mark.entry.path)} is marked as another person than the one of {mark.caption!r}, and by another "
        f"description as the same person; correct one of the marks",
      )  # fmt: skip
    if mark.mark != "wrong":
      found = captions.setdefault(mark.entry.path, [])
      found += [mark.caption] if mark.caption not in found else []
  names: dict[str, str] = {}
  entries = {mark.entry.path: mark.entry for mark in marks}
  lines = []
  for path, texts in captions.items():
    person = person_of_image.get(path, f"\0{path}")  # no caption holds this character
    name = names.setdefault(person, f"person-{len(names) + 1:05d}")
    known = {field: value for field in ("camera", "time") if (value := getattr(entries[path], field))}
    lines.append({"image": path, "id": name, "captions": texts, **known})
  wrong = [{"image": mark.entry.path, "caption": mark.caption} for mark in marks if mark.mark == "wrong"]
  return Exported(_json_lines(lines), _json_lines(wrong), len(names), len(lines))


def _check(marks: Sequence[Marked]) -> None:
  marked: dict[tuple[str, str], str] = {}
  for mark in marks:
    path = mark.entry.path
    if not mark.caption:
      raise ApiError(422, f"{escaped(path)} is marked without a description; describe the person first")
    if mark.entry.box is not None:
      raise ApiError(422, f"{escaped(path)} is a frame, and an annotation file names whole images; cut its boxes out")
    if path.startswith("/") or not path.isprintable() or escaped(path) != path:
      raise ApiError(422, f"{escaped(path)} is not below the gallery or has characters that an annotation file rejects")
    before = marked.setdefault((path, mark.caption), mark.mark)
    if before != mark.mark:
      raise ApiError(
        422, f"{path} is marked {before!r} and {mark.mark!r} for {mark.caption!r}; remove one of the marks"
      )


def _persons(marks: Sequence[Marked]) -> dict[str, str]:
  """Returns {description: the first description of the same person}; those that share an image are of one person."""
  first = {mark.caption: mark.caption for mark in marks}

  def root(caption: str) -> str:
    while first[caption] != caption:
      caption = first[caption]
    return caption

  by_image: dict[str, str] = {}
  for mark in marks:
    other = by_image.setdefault(mark.entry.path, mark.caption)
    first[root(mark.caption)] = root(other)
  return {caption: root(caption) for caption in first}


def _json_lines(values: Sequence[dict]) -> str:
  return "".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in values)
