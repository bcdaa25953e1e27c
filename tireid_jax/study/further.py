"""Results beyond retrieval in the domain of training: other domains, and how far the encoders have drifted."""

import dataclasses
import functools
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy.pool import splits, store
from tireid_jax.errors import UserError
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
  for name in domains(config):
    found[name] = _retrieval(loaded, config, name)
  return found


def domains(config: ConfigDict) -> list[str]:
  """Returns the names of the data sets of persons that a model is tested on, but was not trained on."""
  return sorted({*config.study.domains, *config.study.test_domains} - {config.data.name})


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
  opened = _pool_split(loaded, data, split) if data.data.name == splits.NAME else None
  opened = opened or loading.open_split(loaded, split, data=data)
  encoders = _encoders(loaded.model, loaded.mesh, data.evaluation.batch_size)
  image, text = encoders.encode(loaded.variables, opened, data.data.caption_lengths, show_progress=True)
  return image, text, opened


@functools.lru_cache(maxsize=2)
def _encoders(model, mesh, batch_size):
  """Returns the encoders of a model, compiled once for all that they encode."""
  return embedding.Encoders(model, mesh, batch_size)


def _pool_split(loaded, data, split):
  """Returns the held-out pictures of the pre-training pool, which are drawn without the others."""
  if data.data.tokenizer:
    raise UserError(f"study.held_out={splits.NAME} has CLIP's tokens, but data.tokenizer is {data.data.tokenizer!r}")
  return _drawn(data.study.pool_seed, tuple(loaded.config.data.image_size), split, data.study.pool_held_out)


@functools.lru_cache(maxsize=2)
def _drawn(seed, size, split, num_held_out):
  return splits.open_held_out(store.DrawnPool(seed, size), split, num_held_out)


def scores_of(image: np.ndarray, text: np.ndarray, split: Split, num_persons: int) -> dict[str, QueryScores]:
  """Returns {"t2i": QueryScores, "i2t": QueryScores}, each query ranked among about `num_persons`; 0 for all."""
  caption_id, described = split.person_id[split.caption_image], split.described
  num_persons = num_persons or len(np.unique(split.person_id))
  return {
    "t2i": fixed_gallery.query_scores(text, image, caption_id, split.person_id, num_persons),
    "i2t": fixed_gallery.query_scores(image[described], text, split.person_id[described], caption_id, num_persons),
  }


def encode_other(
  loaded: Loaded, config: ConfigDict, name: str, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, Split]:
  """Returns `encode` of another data set than that of a cell's config; a synthetic one is generated first."""
  other = toy_data.for_test_alone(config, name)
  if name in toy_data.NAMES:
    toy_data.make(other, name)
  return encode(loaded, other, split)


def _retrieval(loaded, config, name):
  return scores_of(*encode_other(loaded, config, name), config.study.gallery_persons)["t2i"].summary()
