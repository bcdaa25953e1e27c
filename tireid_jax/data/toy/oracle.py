"""Upper bounds for R@1 on ToyPEDES: retrieval by the true attributes instead of embeddings."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tireid_jax.data.toy.attributes import is_colour
from tireid_jax.data.toy.write import ANNOTATIONS, ATTRIBUTES
from tireid_jax.errors import MissingFileError, UserError

# Queries scored at a time, which bounds memory for any size of data set.
QUERY_BLOCK = 1024


def attribute_ceilings(root: str | os.PathLike, split: str, *, query: str = "visible") -> dict[str, float]:
  """Returns the R@1, in percent, of matching true attributes on `split` of the ToyPEDES folder `root`.

  Keys: "all colours", "all shapes" (kinds, patterns, builds: all but colours), "everything", and the name of
  each attribute alone. The gallery has the attributes visible in each image. A score is the number of attributes that
  agree; ties are resolved by expectation under random order. Every caption is a query.

  Args:
    root: the folder that holds reid_raw.json and attributes.json.
    split: "train", "val" or "test".
    query: "visible": a query has the attributes visible in its image, as if the caption mentioned them all
      correctly. "mentioned": those that the caption mentions, with the values it gives.
  """
  if query not in ("visible", "mentioned"):
    raise ValueError(f"query is {query!r}; it must be visible or mentioned")
  path = Path(root) / ATTRIBUTES
  if not path.is_file():
    raise MissingFileError(
      f"{path} is missing; write the folder with python -m tireid_jax.data.toy --to={Path(root).parent}"
    )
  truths = json.loads(path.read_text())
  annotations = [entry for entry in json.loads((Path(root) / ANNOTATIONS).read_text()) if entry["split"] == split]
  if not annotations:
    raise UserError(f"{root} has no images in split {split!r}")
  gallery: list[dict[str, str]] = []
  queries: list[dict[str, str]] = []
  gallery_ids: list[int] = []
  query_ids: list[int] = []
  for annotation in annotations:
    truth = truths[annotation["file_path"]]
    seen = {name: truth["attributes"][name] for name in truth["visible"]}
    gallery.append(seen)
    gallery_ids.append(annotation["id"])
    queries += [seen] * len(annotation["captions"]) if query == "visible" else truth["mentioned"]
    query_ids += [annotation["id"]] * len(annotation["captions"])
  names = sorted({name for seen in gallery for name in seen})
  groups: dict[str, Callable[[str], bool]] = {
    "all colours": is_colour,
    "all shapes": lambda name: not is_colour(name),
    "everything": lambda name: True,
    **{name: lambda other, name=name: other == name for name in names},  # type: ignore[misc]
  }
  return {
    title: matching_rank1(queries, gallery, query_ids, gallery_ids, [name for name in names if belongs(name)])
    for title, belongs in groups.items()
  }


def matching_rank1(
  queries: Sequence[dict[str, str]],
  gallery: Sequence[dict[str, str]],
  query_ids: Sequence[int],
  gallery_ids: Sequence[int],
  names: Sequence[str],
) -> float:
  """Returns the expected R@1, in percent, of ranking by how many of the attributes `names` agree.

  An attribute that the query or the image lacks does not agree. Images with the same score are in random order.
  """
  numbers: dict[tuple[str, str], int] = {}

  def code(items, missing):
    rows = [
      [numbers.setdefault((name, item[name]), len(numbers)) if name in item else missing for name in names]
      for item in items
    ]
    return np.array(rows, np.int32).reshape(len(items), len(names))

  # Missing attributes have different codes in queries and gallery, so they never agree.
  query_codes, gallery_codes = code(queries, -1), code(gallery, -2)
  owner, identity = np.asarray(gallery_ids), np.asarray(query_ids)
  hits = 0.0
  for start in range(0, len(queries), QUERY_BLOCK):
    block = slice(start, start + QUERY_BLOCK)
    score = np.zeros((len(query_codes[block]), len(gallery)), np.int32)  # [N, G]
    for column in range(len(names)):
      score += query_codes[block, column, None] == gallery_codes[:, column]
    first = score == score.max(axis=1, keepdims=True)
    right = first & (owner == identity[block, None])
    hits += float((right.sum(axis=1) / first.sum(axis=1)).sum())
  return 100.0 * hits / len(queries)
