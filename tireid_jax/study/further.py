"""Results beyond retrieval in the domain of training: other domains, and how far the encoders have drifted."""

import dataclasses
import functools
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data.prepared.splits import Split
from tireid_jax.evaluation import cka, embedding, fixed_gallery
from tireid_jax.metrics import QueryScores
from tireid_jax.study import toy_data
from tireid_jax.training import loading
from tireid_jax.training.loading import Loaded


def of_model(loaded: Loaded, config: ConfigDict, image: np.ndarray, text: np.ndarray) -> dict[str, Any]:
  """Returns {"drift": {"image", "text"}, "held_out": {metric}, DOMAIN: {metric}} of a model.

  Drift is 1 minus the linear CKA of the embeddings of the test split before and after training. Retrieval is text to
  image on the test splits of `study.held_out` and of the domains that the model was not trained on.

  Args:
    loaded: the model.
    config: of its cell.
    image, text: f32[G, E] and f32[N, E], its embeddings of the test split of its own domain.
  """
  before = _embeddings_before(_Weights(config.pretrained, config.data_dir, config.data.name, config))
  drift = {
    "image": 1 - cka.linear_cka(before[0], image),
    "text": 1 - cka.linear_cka(before[1], text),
  }
  found: dict[str, Any] = {"drift": drift}
  if config.study.held_out:
    found["held_out"] = _retrieval(loaded, config, config.study.held_out)
  for name in config.study.domains:
    if name != config.data.name:
      found[name] = _retrieval(loaded, config, name)
  return found


@dataclasses.dataclass(frozen=True)
class _Weights:
  """Pretrained weights and data; `config` describes both."""

  pretrained: str
  data_dir: str
  name: str
  config: ConfigDict = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=1)
def _embeddings_before(weights: _Weights) -> tuple[np.ndarray, np.ndarray]:
  """Returns the (image, text) embeddings of the test split by the pretrained weights; the rows of a seed share them."""
  loaded = loading.load_stage(None, "pretrained", config=weights.config)
  return encode(loaded, weights.config)[:2]


def encode(loaded: Loaded, data: ConfigDict, split: str = "test") -> tuple[np.ndarray, np.ndarray, Split]:
  """Returns (image f32[G, E], text f32[N, E], split) of a split of the data set of a config."""
  opened = loading.open_split(loaded, split, data=data)
  encoders = embedding.Encoders(loaded.model, loaded.mesh, data.evaluation.batch_size)
  image, text = encoders.encode(loaded.variables, opened, data.data.caption_lengths, show_progress=True)
  return image, text, opened


def scores_of(image: np.ndarray, text: np.ndarray, split: Split, num_persons: int) -> dict[str, QueryScores]:
  """Returns {"t2i": QueryScores, "i2t": QueryScores}, each query ranked among about `num_persons`; 0 for all."""
  caption_id, described = split.person_id[split.caption_image], split.described
  num_persons = num_persons or len(np.unique(split.person_id))
  return {
    "t2i": fixed_gallery.query_scores(text, image, caption_id, split.person_id, num_persons),
    "i2t": fixed_gallery.query_scores(image[described], text, split.person_id[described], caption_id, num_persons),
  }


def _retrieval(loaded, config, name):
  if name in toy_data.WRITERS:
    toy_data.make(config, name)
  other = config.copy_and_resolve_references()
  other.data.name, other.data.val_identities = name, 0
  image, text, split = encode(loaded, other)
  return scores_of(image, text, split, config.study.gallery_persons)["t2i"].summary()
