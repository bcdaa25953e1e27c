"""How much each word of a caption matters: the drop in similarity to an image when the word is left out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Word(NamedTuple):
  """A word of a caption, with the punctuation attached to it.

  Attributes:
    text: as in the caption.
    drops: cosine similarity of the whole caption to each of some images, less that of the caption without this word;
      negative if the caption is more similar without it.
  """

  text: str
  drops: tuple[float, ...]


def word_relevance(
  captions: Sequence[str],
  text: Float[np.ndarray, "captions E"],
  images: Float[np.ndarray, "captions targets E"],
  encode: Callable[[list[str]], Float[np.ndarray, "N E"]],
) -> list[list[Word]]:
  """Returns the words of each caption, which are what white space separates.

  Args:
    captions: as annotated.
    text: embedding of each caption, of any norm.
    images: embeddings of the images that each caption is compared with.
    encode: returns the embeddings of captions, of any norm.
  """
  split = [caption.split() for caption in captions]
  shortened = [" ".join(words[:i] + words[i + 1 :]) for words in split for i in range(len(words))]
  without = _normalised(encode(shortened)) if shortened else np.empty((0, text.shape[-1]), np.float32)
  found, start = [], 0
  for words, caption, targets in zip(split, _normalised(text), _normalised(images), strict=True):
    drops = (caption - without[start : start + len(words)]) @ targets.T  # [words, targets]
    found.append([Word(word, tuple(values)) for word, values in zip(words, drops.tolist(), strict=True)])
    start += len(words)
  return found


def _normalised(embeddings):
  return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
