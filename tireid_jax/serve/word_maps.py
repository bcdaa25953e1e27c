"""Maps of words in pictures, for several visitors. A picture is embedded once for all words looked for in it."""

import collections
import threading

import numpy as np

from tireid_jax.search import word_map
from tireid_jax.search.encoders import Encoders
from tireid_jax.serve.pictures import Pictures

# Pictures whose embeddings are kept, about 100 KiB each.
_NUM_KEPT = 256


class WordMaps:
  """Computes a WordMap at a time."""

  def __init__(self, encoders: Encoders, kept: Pictures, computing: threading.Lock) -> None:
    """`kept` has the pictures whose embeddings are kept; `computing` is held while anything is encoded."""
    self._encoders, self._kept, self._computing = encoders, kept, computing
    self._regions: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()

  def find(self, pictures: Pictures, picture: str, sentence: str, number: int) -> word_map.WordMap:
    """Returns the WordMap of a word of a sentence in the picture of an id.

    Raises:
      ApiError: there is no such picture.
      UserError: there is no such word.
    """
    pixels = pictures.pixels(picture, self._encoders.image_size)
    with self._computing:
      regions = self._regions.get(picture)
      if regions is None:
        regions = word_map.embed_regions(self._encoders, pixels)
      if pictures is self._kept:
        self._regions[picture] = regions
        self._regions.move_to_end(picture)
        if len(self._regions) > _NUM_KEPT:
          self._regions.popitem(last=False)
      return word_map.word_map(self._encoders, regions, sentence, number)
