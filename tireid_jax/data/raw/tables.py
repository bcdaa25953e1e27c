"""Parses annotation files of custom data (CSV, JSON lines or JSON) into entries, without interpreting them."""

import csv
import functools
import io
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from tireid_jax.data.raw import annotations
from tireid_jax.data.raw.problems import Problem, shown
from tireid_jax.errors import UserError

_TABLES = (".csv", ".tsv")
_DELIMITERS = ",;\t"


def read_entries(file: pathlib.Path, columns: Mapping[str, str], problems: list[Problem]) -> list[tuple[str, Any]]:
  """Returns [(its name in messages, as "line 3", entry)] of an annotation file of any form."""
  text = annotations.load_text(file)
  opening = text.lstrip()[:1]
  if file.suffix.lower() in _TABLES or opening not in ("[", "{"):
    return _table(text, file, columns, problems)
  if opening == "{" and file.suffix.lower() == ".json":
    _check_no_single_object(text, file, columns)
  if opening == "[":
    return [(f"entry {number}", entry) for number, entry in enumerate(annotations.parse(text, file))]
  entries = []
  # Not by splitlines, which also ends lines at characters that JSON strings may hold.
  for number, line in enumerate(text.split("\n"), start=1):
    try:
      entries += [(f"line {number}", json.loads(line))] if line.strip() else []
    except (ValueError, RecursionError):
      problems.append(Problem("unusable entry", f"line {number}", "is no JSON object; each image takes one line"))
  return entries


def _check_no_single_object(text, file, columns):
  """Raises ValueError if a JSON file is one object that is no image, as COCO's {"images": ..., "annotations": ...}."""
  try:
    whole = json.loads(text)
  except (ValueError, RecursionError):
    return  # JSON lines under another name
  if columns["image"] not in whole:
    raise UserError(
      f"{file} is one JSON object (keys {shown(', '.join(whole))}), not a list of images; write a list with one object "
      f"per image: {columns['image']}, {columns['id']}, {columns['captions']}"
    )


def _table(text, file, columns, problems):
  """Returns [(place, {column: text})] of CSV, with the delimiter detected from the header."""
  first_line = text.split("\n", 1)[0]
  delimiter = max(_DELIMITERS, key=first_line.count)
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
  entries: list = []
  begin = 1
  try:
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, file, columns)
    begin = reader.line_num + 1
    for fields in reader:
      if reader.line_num > begin:
        _check_no_row_inside(fields, header.index(columns["image"]), delimiter, file, begin)
      if len(fields) == len(header):
        entries.append((f"line {reader.line_num}", dict(zip(header, fields, strict=True))))
      elif fields:
        detail = f"has {len(fields)} fields, where the header has {len(header)}"
        problems.append(Problem("unusable entry", f"line {reader.line_num}", detail))
      begin = reader.line_num + 1
  except csv.Error as error:
    raise UserError(f"{file} is no CSV file (line {begin}: {error}); correct that line") from error
  return entries


def _check_no_row_inside(fields, image, delimiter, file, begin):
  """Raises ValueError if a multi-line cell contains rows, because an opening quotation mark was never closed.

  Args:
    fields: cells of a row.
    image: index of the cell with the image path.
    delimiter: between cells.
    file: the annotation file.
    begin: line where the row begins.
  """
  _, suffix = os.path.splitext(fields[image] if image < len(fields) else "")
  for field in fields:
    for line in field.split("\n")[1:]:
      inside = line.split(delimiter)
      if suffix and len(inside) > image and os.path.splitext(inside[image])[1].casefold() == suffix.casefold():
        raise UserError(
          f"{file} is no CSV file (line {begin}: a quotation mark opens a cell that takes in the rows after it, as "
          f"{shown(inside[image])!r}); put such a cell in quotation marks and double the mark inside it"
        )


def _check_header(header, file, columns):
  """Raises ValueError if a table lacks a column that every image needs, or has one twice."""
  lacking = [field for field in ("image", "id") if columns[field] not in header]
  if not caption_columns(columns["captions"], tuple(header)):
    lacking.append("captions")
  known = shown(", ".join(header))
  if lacking:
    raise UserError(
      f"{file} has no column {columns[lacking[0]]!r}, only {known}; set --config.custom.columns.{lacking[0]}"
    )
  if len(set(header)) < len(header):
    raise UserError(f"{file} has two columns of one name: {known}; rename one")


@functools.lru_cache(maxsize=1024)
def caption_columns(column, names):
  """Returns those of some names that hold captions: `column` in the singular or plural, numbered or not."""
  pattern = re.compile(rf"{re.escape(column.removesuffix('s'))}s?(?:_?([0-9]{{1,4}}))?")
  matches = [(int(match[1] or 0), name) for name in names if (match := pattern.fullmatch(name))]
  return [name for _, name in sorted(matches)]
