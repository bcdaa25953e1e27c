"""Losses of image and text embeddings, written as if on one device: under a sharded jit, losses of the global batch.

To add a loss, write its function here and give it a row in `LOSSES`: every stage's `losses` then has a field for it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from tireid_jax.errors import UserError

# Added to the target distribution inside SDM's and CMPM's logarithm (IRRA).
EPSILON = 1e-8
# An embedding of a smaller L2 norm is normalised to zeros; torch's F.normalize clamps the norm to the same value.
MIN_NORM = 1e-12


def sdm_loss(
  image: Float[Array, "B E"],
  text: Float[Array, "B E"],
  person_id: Int[Array, " B"],
  *,
  temperature: float | Float[Array, ""],
) -> Float[Array, ""]:
  """Similarity distribution matching: pull each row of similarities toward the same-identity mask.

  Both directions (image to text, text to image) are summed, so a perfect batch scores near 0.

  Args:
    image: image embeddings, normalised here.
    text: text embeddings, normalised here; row i describes image i.
    person_id: identity of each pair. Equal ids are positives.
    temperature: softmax temperature, > 0 (0.02 in the source).

  Returns:
    Loss in nats, mean over the batch.

  Source: Jiang and Ye, CVPR 2023 (IRRA), arXiv 2303.12501.
  """
  logits = _similarity(text, image) / temperature  # [B, B]
  mask = _is_same(person_id).astype(jnp.float32)
  target = jnp.log(mask / mask.sum(axis=1, keepdims=True) + EPSILON)
  return _divergence(logits, target) + _divergence(logits.T, target)


def itc_loss(
  image: Float[Array, "B E"],
  text: Float[Array, "B E"],
  *,
  temperature: float | Float[Array, ""],
  person_id: Int[Array, " B"] | None = None,
) -> Float[Array, ""]:
  """Image-text contrastive loss, CLIP's own: mean of the image-to-text and the text-to-image cross-entropy.

  Args:
    image: image embeddings, normalised here.
    text: text embeddings, normalised here; row i describes image i.
    temperature: softmax temperature, > 0.
    person_id: identity of each pair. If given, other pairs of the same identity are masked out of the softmax: they
      are neither positives nor negatives.

  Returns:
    Loss in nats, mean over the batch.

  Source: Radford et al., ICML 2021 (CLIP), arXiv 2103.00020.
  """
  logits = _similarity(text, image) / temperature  # [B, B]
  is_pair = jnp.eye(len(logits), dtype=bool)
  if person_id is not None:
    logits = jnp.where(_is_same(person_id) & ~is_pair, -jnp.inf, logits)
  # Neither jnp.diagonal nor Optax's cross-entropy, which gathers by label: with a sharded batch, XLA compiles both to
  # a gather from all devices.
  of_pairs = jnp.sum(jnp.where(is_pair, logits, 0.0), axis=1)
  normalizers = jax.nn.logsumexp(logits, axis=1) + jax.nn.logsumexp(logits, axis=0)
  return jnp.mean(normalizers - 2 * of_pairs) / 2


def cmpm_loss(image: Float[Array, "B E"], text: Float[Array, "B E"], person_id: Int[Array, " B"]) -> Float[Array, ""]:
  """Cross-modal projection matching: match projections onto the other modality's directions to the same-identity mask.

  Args:
    image: image embeddings, not normalised.
    text: text embeddings, not normalised; row i describes image i.
    person_id: identity of each pair. Equal ids are positives.

  Returns:
    Loss in nats, mean over the batch, both directions summed.

  Source: Zhang and Lu, ECCV 2018; the mask is divided by its L2 norm, as in IRRA's code.
  """
  image, text = image.astype(jnp.float32), text.astype(jnp.float32)
  mask = _is_same(person_id).astype(jnp.float32)
  target = jnp.log(mask / jnp.linalg.norm(mask, axis=1, keepdims=True) + EPSILON)
  return _divergence(_product(image, _normalise(text)), target) + _divergence(_product(text, _normalise(image)), target)


def identity_loss(
  image_logits: Float[Array, "B C"], text_logits: Float[Array, "B C"], labels: Int[Array, " B"]
) -> Float[Array, ""]:
  """Classification of the training identities: mean of the image and the text cross-entropy, in nats.

  Args:
    image_logits, text_logits: of the identity head.
    labels: in 0..C-1.
  """

  def cross_entropy(logits):
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels))

  return (cross_entropy(image_logits) + cross_entropy(text_logits)) / 2


def _normalise(x: Float[Array, "B E"]) -> Float[Array, "B E"]:
  """Returns embeddings of L2 norm 1; the gradient of an embedding of zeros is 0, not NaN."""
  x = x.astype(jnp.float32)
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  is_tiny = square < MIN_NORM**2
  return jnp.where(is_tiny, 0.0, x * jax.lax.rsqrt(jnp.where(is_tiny, 1.0, square)))


def _product(a: Float[Array, "N E"], b: Float[Array, "G E"]) -> Float[Array, "N G"]:
  # By default, accelerators multiply in bfloat16 or TF32: too coarse at temperature 0.02.
  return jnp.einsum("NE,GE->NG", a, b, precision=jax.lax.Precision.HIGHEST)


def _similarity(text: Float[Array, "B E"], image: Float[Array, "B E"]) -> Float[Array, "B B"]:
  return _product(_normalise(text), _normalise(image))


def _is_same(person_id: Int[Array, " B"]) -> Bool[Array, "B B"]:
  return person_id[:, None] == person_id[None, :]


def _divergence(logits: Float[Array, "B B"], log_target: Float[Array, "B B"]) -> Float[Array, ""]:
  """Returns KL(softmax(logits) || target), mean over the rows of `logits`."""
  # Optax names its arguments for KL(target || prediction).
  return jnp.mean(optax.losses.kl_divergence_with_log_targets(log_target, jax.nn.log_softmax(logits, axis=1)))


def _identity(batch):
  head = batch["id_head"]
  logits = {side: batch[side] @ head["kernel"] + head["bias"] for side in ("image", "text")}  # [B, C]
  return identity_loss(logits["image"], logits["text"], batch["person_id"])


@dataclasses.dataclass(frozen=True)
class Loss:
  """A loss that a stage may use.

  Attributes:
    compute: {"image" f32[B, E], "text" f32[B, E], "person_id" i32[B], "temperature" f32[], "id_head"} -> f32[]. The
      embeddings are not normalised; "id_head" is {"kernel" f32[E, C], "bias" f32[C]}, None if no loss of the stage
      needs it.
    description: for the reference of config fields.
    default_weight: in a stage whose config does not set it.
  """

  compute: Callable[[Mapping[str, Any]], jax.Array]
  description: str
  default_weight: float = 0.0


LOSSES = {
  "sdm": Loss(
    lambda b: sdm_loss(b["image"], b["text"], b["person_id"], temperature=b["temperature"]),
    "similarity distribution matching",
  ),
  "itc": Loss(
    lambda b: itc_loss(b["image"], b["text"], temperature=b["temperature"], person_id=b["person_id"]),
    "CLIP's contrastive loss; other pairs of the same identity are not negatives",
  ),
  "itc_plain": Loss(
    lambda b: itc_loss(b["image"], b["text"], temperature=b["temperature"]),
    "CLIP's contrastive loss; every other pair is a negative",
  ),
  "cmpm": Loss(lambda b: cmpm_loss(b["image"], b["text"], b["person_id"]), "cross-modal projection matching"),
  "identity": Loss(_identity, "classification of the training identities"),
}


def check_names(names: Iterable[str]) -> None:
  """Raises UserError for a name that is not in LOSSES."""
  unknown = sorted(set(names) - set(LOSSES))
  if unknown:
    raise UserError(f"there is no loss {unknown[0]!r}; the losses are {', '.join(LOSSES)}")
