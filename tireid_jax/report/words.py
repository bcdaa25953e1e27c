"""The relevance of each word of the example queries."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tireid_jax import metrics
from tireid_jax.data import tokenizer
from tireid_jax.data.prepared.splits import Split
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding, word_relevance
from tireid_jax.evaluation.ranked_examples import RankedQuery
from tireid_jax.terminal.progress import log_line
from tireid_jax.training.loading import Loaded


def with_words(
  queries: Sequence[RankedQuery],
  indices: Sequence[int],
  loaded: Loaded,
  encoders: embedding.Encoders,
  image: np.ndarray,
  text: np.ndarray,
  split: Split,
) -> list[RankedQuery]:
  """Returns the queries with the relevance of each word; without it if the tokenizer is not there any more.

  Args:
    queries: examples.
    indices: of their captions in the split.
    loaded: the model.
    encoders: of the model.
    image, text: f32[G, E] and f32[N, E] embeddings of the split.
    split: Split.
  """
  config = loaded.config
  try:
    tokenize = tokenizer.load_tokenizer(config.data.tokenizer)
  except UserError as error:  # a prepared data set needs none
    log_line(f"words of captions are not marked: {error}")
    return list(queries)

  def encode(captions):
    return encoders.encode_tokens(loaded.variables, tokenize(captions), config.data.caption_lengths)

  captions = [split.captions[index] for index in indices]
  first, _ = metrics.top_gallery(text[list(indices)], image, 1)  # [queries, 1]
  targets = np.stack([split.caption_image[list(indices)], first[:, 0]], axis=1)
  found = word_relevance.word_relevance(captions, text[list(indices)], image[targets], encode)
  return [dataclasses.replace(query, words=own) for query, own in zip(queries, found, strict=True)]
