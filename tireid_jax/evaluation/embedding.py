"""Embeds every image and every caption of a split, and ranks in both directions of retrieval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tireid_jax import metrics
from tireid_jax.data import loader
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.transforms.augment import normalise
from tireid_jax.models.clip import CLIP
from tireid_jax.parallel import distributed, sharding
from tireid_jax.terminal.progress import bar, log_line

# With fewer identities, results are reported with a warning: at 50, R@1 has a standard error of up to 7 points.
MIN_IDENTITIES = 50


def compile_encoders(
  model: CLIP, mesh: Mesh, *, compiler_options: dict[str, Any] | None = None
) -> tuple[Callable[[Any, jax.Array], jax.Array], Callable[[Any, jax.Array], jax.Array]]:
  """Returns (image encoder, text encoder), compiled once for each shape of a batch that is on `mesh`.

  Both take the variables and a batch, u8[B, h, w, 3] or i32[B, L], and return f32[B, E], not normalised.
  """

  def encode_image(variables, images):
    return model.apply(variables, normalise(images), method="encode_image")

  def encode_text(variables, tokens):
    return model.apply(variables, tokens, method="encode_text")

  options: dict[str, Any] = {"out_shardings": sharding.replicated(mesh), "compiler_options": compiler_options}
  return jax.jit(encode_image, **options), jax.jit(encode_text, **options)


class Encoders:
  """Both encoders of a model, compiled once for each batch shape, over all devices of a mesh.

  Each process reads and encodes its shard of a batch; all of them get all embeddings.
  """

  def __init__(
    self, model: CLIP, mesh: Mesh, batch_size: int, *, compiler_options: dict[str, Any] | None = None
  ) -> None:
    """Compiles nothing yet; `batch_size` is rounded up to a multiple of the devices that a batch is sharded over."""
    devices = sharding.batch_devices(mesh)
    self._mesh, self._embedding_size = mesh, model.variant.embedding_size
    self._batch_size = -(-batch_size // devices) * devices
    self._shard = sharding.process_batch_indices(mesh, self._batch_size)
    self._image, self._text = compile_encoders(model, mesh, compiler_options=compiler_options)

  def encode(
    self, variables: Any, split: Split, caption_lengths: Sequence[int], *, show_progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns (image f32[G, E], text f32[N, E]) of every image and every caption of a split, not normalised."""
    return (
      self.encode_images(variables, split, show_progress=show_progress),
      self.encode_captions(variables, split, caption_lengths, show_progress=show_progress),
    )

  def encode_images(self, variables: Any, split: Split, *, show_progress: bool = False) -> np.ndarray:
    """Returns f32[G, E] of every image of a split, in its order, not normalised."""
    batches = loader.image_batches(split, self._batch_size, shard=self._shard)
    return self._run(self._image, variables, len(split.person_id), batches, "images", show_progress)

  def encode_captions(
    self, variables: Any, split: Split, caption_lengths: Sequence[int], *, show_progress: bool = False
  ) -> np.ndarray:
    """Returns f32[N, E] of every caption of a split, in its order, not normalised.

    Captions are sorted by length; each batch is padded to the smallest of `caption_lengths` that holds its longest one.
    """
    batches = loader.caption_batches(split, self._batch_size, caption_lengths, shard=self._shard)
    return self._run(self._text, variables, len(split.caption_image), batches, "tokens", show_progress)

  def encode_tokens(
    self, variables: Any, tokens: np.ndarray, caption_lengths: Sequence[int], *, show_progress: bool = False
  ) -> np.ndarray:
    """Returns f32[N, E] of captions that need not be of a split, i32[N, 77], in their order, not normalised."""
    batches = loader.token_batches(tokens, self._batch_size, caption_lengths, shard=self._shard)
    return self._run(self._text, variables, len(tokens), batches, "tokens", show_progress)

  def score(
    self, variables: Any, split: Split, caption_lengths: Sequence[int], *, show_progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray, dict[str, metrics.QueryScores]]:
    """Returns (image f32[G, E], text f32[N, E], {"t2i": QueryScores, "i2t": QueryScores}) of a split."""
    image, text = self.encode(variables, split, caption_lengths, show_progress=show_progress)
    caption_id, described = split.person_id[split.caption_image], split.described
    scores = {
      "t2i": metrics.query_scores(text, image, caption_id, split.person_id),
      # A distractor is in the gallery of images but no query itself.
      "i2t": metrics.query_scores(image[described], text, split.person_id[described], caption_id),
    }
    return image, text, scores

  def _run(self, encoder, variables, total, batches, field, show_progress):
    embeddings = np.empty((total, self._embedding_size), np.float32)
    hidden = not (show_progress and distributed.is_first())
    with bar(total=total, desc=f"encoding {field}", unit="row", disable=hidden) as progress:
      # A batch is fetched while the next one is computed.
      pending = None
      for batch in batches:
        queued = batch, encoder(variables, sharding.put_batch(self._mesh, {field: batch[field]})[field])
        if pending:
          _store(embeddings, pending, progress)
        pending = queued
      _store(embeddings, pending, progress)
    return embeddings


def _store(embeddings, pending, progress):
  batch, encoded = pending
  embeddings[batch["indices"]] = np.asarray(encoded)  # the last batch is padded by repeating an example
  progress.update(int(batch["is_valid"].sum()))


def warn_if_small(split: Split) -> None:
  """Logs a warning if a split has too few identities for reliable results."""
  queries = split.person_id[split.caption_image]
  count = len(np.unique(queries))
  if count < MIN_IDENTITIES:
    identities = "1 identity" if count == 1 else f"{count} identities"
    found, sizes = np.unique(split.person_id, return_counts=True)
    chance = 100 * sizes[np.searchsorted(found, queries)].mean() / len(split.person_id)
    log_line(
      f"warning: the {split.split} split of {split.name} has {identities}: R@1 is about {chance:.0f} by chance "
      f"alone, and its standard error is up to {50 / count**0.5:.0f} points"
    )


def gallery_counts(split: Split) -> dict[str, int]:
  """Returns {"num_gallery", "num_distractors"} of the images that captions are ranked in."""
  return {"num_gallery": len(split.person_id), "num_distractors": split.num_distractors}


def summarize(scores: Mapping[str, metrics.QueryScores]) -> dict[str, dict[str, float]]:
  """Returns {"t2i": {metric: percent}, "i2t": ...}, means over the queries of each direction."""
  return {direction: scores[direction].summary() for direction in metrics.DIRECTIONS}
