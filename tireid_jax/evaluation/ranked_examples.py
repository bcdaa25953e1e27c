"""Ranked examples: which queries to inspect, their first gallery images, and a picture of one query."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tireid_jax import metrics
from tireid_jax.evaluation.word_relevance import Word

KINDS = ("best", "worst", "random")
RIGHT, WRONG = "#1b8a4b", "#cf3a3a"


@dataclasses.dataclass(frozen=True, eq=False)
class Hit:
  """A retrieved gallery image: u8[h, w, 3], its identity (-1 for none), and its similarity to the query."""

  image: np.ndarray
  person_id: int
  score: float
  is_correct: bool


@dataclasses.dataclass(frozen=True, eq=False)
class RankedQuery:
  """A caption and the gallery images that it retrieves.

  Attributes:
    kind: why the query was chosen, one of KINDS.
    caption: as annotated.
    person_id: identity that the caption describes.
    first_rank: rank of the first image of that identity, from 1.
    average_precision: 0..1.
    described: u8[h, w, 3] the image that the caption was written for.
    hits: the first gallery images, best first.
    words: of the caption, with the drops of the similarity to the described image and to the first hit; () if unknown.
  """

  kind: str
  caption: str
  person_id: int
  first_rank: int
  average_precision: float
  described: np.ndarray
  hits: list[Hit]
  words: Sequence[Word] = ()

  @property
  def images(self) -> list[np.ndarray]:
    """Images of the hits."""
    return [hit.image for hit in self.hits]

  @property
  def is_correct(self) -> list[bool]:
    """For each hit, whether it shows the person."""
    return [hit.is_correct for hit in self.hits]


def choose_queries(scores: metrics.QueryScores, num: int = 12, seed: int = 0) -> list[tuple[str, int]]:
  """Returns [(kind of KINDS, index of the query)]: a third each of the best, the worst and random ones, all different.

  Ties are broken by `seed`. A person is chosen a second time only if there are no others left.

  Args:
    scores: of all queries.
    num: how many to choose; fewer if there are fewer queries.
    seed: of the random choices.
  """
  rng = np.random.default_rng(seed)
  shuffled = rng.permutation(len(scores.query_ids))
  precision, rank = scores.average_precision[shuffled], scores.first_rank[shuffled]
  orders = {
    "best": shuffled[np.lexsort([rank, -precision])],
    "worst": shuffled[np.lexsort([precision, -rank])],
    "random": rng.permutation(len(shuffled)),
  }
  counts = {"best": num // 3, "worst": num // 3, "random": num - 2 * (num // 3)}
  chosen: list[tuple[str, int]] = []
  for kind in KINDS:
    seen = {int(scores.query_ids[query]) for _, query in chosen}
    candidates = [int(query) for query in orders[kind] if query not in {query for _, query in chosen}]
    fresh: list[int] = []
    repeated: list[int] = []
    for query in candidates:
      person = int(scores.query_ids[query])
      (repeated if person in seen else fresh).append(query)
      seen.add(person)
    chosen += [(kind, query) for query in (fresh + repeated)[: counts[kind]]]
  return chosen


def rank_queries(
  chosen: Sequence[tuple[str, int]],
  scores: metrics.QueryScores,
  image: np.ndarray,
  text: np.ndarray,
  split: Any,
  *,
  top: int = 10,
) -> list[RankedQuery]:
  """Returns a RankedQuery for each chosen query.

  Args:
    chosen: [(kind, index of the query)], from `choose_queries`.
    scores: QueryScores of text to image.
    image, text: f32[G, E] and f32[N, E] embeddings of the split.
    split: with `images`, `person_id`, `captions` and `caption_image`, as data.prepared.Split.
    top: gallery images per query.
  """
  indices = [query for _, query in chosen]
  found, similarities = metrics.top_gallery(text[indices], image, top)  # [queries, top] each
  queries = []
  for (kind, query), gallery, values in zip(chosen, found, similarities, strict=True):
    person = int(split.person_id[split.caption_image[query]])
    hits = [
      Hit(picture, int(split.person_id[index]), float(value), int(split.person_id[index]) == person)
      for picture, index, value in zip(split.images[gallery], gallery, values, strict=True)
    ]
    queries.append(
      RankedQuery(
        kind=kind,
        caption=split.captions[query],
        person_id=person,
        first_rank=int(scores.first_rank[query]),
        average_precision=float(scores.average_precision[query]),
        described=split.images[split.caption_image[query : query + 1]][0],
        hits=hits,
      )
    )
  return queries


def ranked_strip(
  caption: str, images: Sequence[np.ndarray], is_correct: Sequence[bool], *, height: int = 256
) -> Image.Image:
  """Returns a picture of one query: its caption above the images, best first, with green frames if correct, else red.

  Args:
    caption: text, wrapped to the width.
    images: u8[h, w, 3] each.
    is_correct: for each image.
    height: pixels of each image.
  """
  gap, frame, text_size = height // 16, max(2, height // 48), max(11, height // 13)
  font = ImageFont.load_default(text_size)
  tiles = []
  for image in images:
    width = max(1, round(height * image.shape[1] / image.shape[0]))
    tiles.append(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
  line = round(text_size * 1.4)
  width = sum(tile.width + 2 * frame for tile in tiles) + gap * (len(tiles) + 1)
  lines = _wrapped(f"“{caption}”", font, width - 2 * gap)
  top = gap + line * len(lines) + gap // 2
  strip = Image.new("RGB", (width, top + height + 2 * frame + line + gap // 2), "white")
  draw = ImageDraw.Draw(strip)
  for number, text in enumerate(lines):
    draw.text((gap, gap + number * line), text, font=font, fill="#222222")
  left = gap
  for rank, (tile, right) in enumerate(zip(tiles, is_correct, strict=True), start=1):
    colour = RIGHT if right else WRONG
    outer = tile.width + 2 * frame
    draw.rectangle((left, top, left + outer - 1, top + height + 2 * frame - 1), fill=colour)
    strip.paste(tile, (left + frame, top + frame))
    _mark(draw, left, top + height + 2 * frame + line * 0.15, text_size, rank, right, colour)
    left += outer + gap
  return strip


def _mark(draw, left, top, text_size, rank, right, colour):
  """Writes the rank, and a tick or a cross, for readers who cannot distinguish the colours; the font has neither."""
  font = ImageFont.load_default(text_size)
  draw.text((left, top), str(rank), font=font, fill="#222222")
  size, width = text_size * 0.62, max(1, round(text_size / 8))
  x, y = left + draw.textlength(str(rank), font=font) + text_size * 0.4, top + text_size * 0.38
  if right:
    tick = [(x, y + size * 0.5), (x + size * 0.4, y + size), (x + size, y)]
    draw.line(tick, fill=colour, width=width, joint="curve")
  else:
    draw.line([(x, y), (x + size, y + size)], fill=colour, width=width)
    draw.line([(x + size, y), (x, y + size)], fill=colour, width=width)


def _wrapped(text, font, width):
  lines = [""]
  for word in text.split():
    longer = f"{lines[-1]} {word}".strip()
    if lines[-1] and font.getlength(longer) > width:
      lines.append(word)
    else:
      lines[-1] = longer
  return lines
