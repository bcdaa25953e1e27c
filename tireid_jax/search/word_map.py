"""Where in a picture a model finds a word: which regions the drop in similarity comes from when the word is left out.

A bare attention map says where a model looks, not what for. Here, each region of the picture in turn is painted over
with the picture's mean colour. What that takes away from the drop is the region's relevance for the word.
`python -m benchmarks.word_map` measures on ToyPEDES how often the most relevant cell lies in the part that the word
names.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from tireid_jax.errors import UserError
from tireid_jax.search.encoders import Encoders

# Cells of a map. A region is 2 x 2 cells and overlaps its neighbours by half, so there are 11 x 5: one batch.
ROWS, COLUMNS = 12, 6


class WordMap(NamedTuple):
  """The relevance of each cell of a picture for a word.

  Attributes:
    word: as in the sentence.
    drop: cosine similarity of the picture to the sentence, less that to the sentence without the word.
    relevance: f32[ROWS, COLUMNS] what painting over the cell's surroundings takes away from the drop, mean over the
      regions that cover it; negative where the picture without it would show the word better.
  """

  word: str
  drop: float
  relevance: np.ndarray


def embed_regions(encoders: Encoders, pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "regions+1 E"]:
  """Returns the embeddings of a picture of `image_size`, whole and with each region in turn painted over."""
  tops, lefts = (
    np.linspace(0, side, count + 1).round().astype(int)
    for side, count in zip(pixels.shape[:2], (ROWS, COLUMNS), strict=True)
  )
  colour = pixels.mean((0, 1)).round().astype(np.uint8)
  painted = np.repeat(pixels[None], 1 + (ROWS - 1) * (COLUMNS - 1), axis=0)
  for number, (row, column) in enumerate(np.ndindex(ROWS - 1, COLUMNS - 1), start=1):
    painted[number, tops[row] : tops[row + 2], lefts[column] : lefts[column + 2]] = colour
  return encoders.encode_images(painted)


def word_map(encoders: Encoders, regions: Float[np.ndarray, "regions+1 E"], sentence: str, number: int) -> WordMap:
  """Returns the WordMap of a word of a sentence.

  Args:
    encoders: of the model.
    regions: of the picture, from `embed_regions`.
    sentence: whose words are what white space separates.
    number: of the word, from 0.

  Raises:
    UserError: the sentence has no such word, or no other, or is too long.
  """
  words = sentence.split()
  if len(words) < 2:
    raise UserError(f"a word is compared with the rest of its sentence, so that needs two words and not {len(words)}")
  if not 0 <= number < len(words):
    raise UserError(f"there is no word {number} in the sentence; its words are 0 to {len(words) - 1}")
  with_word, without = encoders.encode_sentences([sentence, " ".join(words[:number] + words[number + 1 :])])
  drops = regions @ (with_word - without)
  return WordMap(words[number], float(drops[0]), cells_of(drops[0] - drops[1:]))


def cells_of(values: Float[np.ndarray, " regions"]) -> Float[np.ndarray, "rows columns"]:
  """Returns for each cell the mean over the regions that cover it."""
  total, covering = np.zeros((2, ROWS, COLUMNS), np.float32)
  for row, column in np.ndindex(2, 2):
    inside = (slice(row, ROWS - 1 + row), slice(column, COLUMNS - 1 + column))
    total[inside] += values.reshape(ROWS - 1, COLUMNS - 1)
    covering[inside] += 1
  return total / covering
