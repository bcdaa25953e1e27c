"""Losses of image and text embeddings, written as if on one device: under a sharded jit, losses of the global batch."""

import jax
import jax.numpy as jnp
import optax

# Added to the target distribution inside SDM's and CMPM's logarithm (IRRA).
EPSILON = 1e-8
# Below this length an embedding has no direction; torch's F.normalize divides by the same.
MIN_NORM = 1e-12


def sdm_loss(image, text, person_id, *, temperature):
  """Similarity distribution matching: pull each row of similarities toward the same-identity mask.

  Both directions (image to text, text to image) are summed, so a perfect batch scores near 0.

  Args:
    image: f32[B, E] image embeddings, normalised here.
    text: f32[B, E] text embeddings, normalised here; row i describes image i.
    person_id: i32[B] identity of each pair. Equal ids are positives.
    temperature: softmax temperature, > 0 (0.02 in the source).

  Returns:
    f32[] loss in nats, mean over the batch.

  Source: Jiang and Ye, CVPR 2023 (IRRA), arXiv 2303.12501.
  """
  logits = _similarity(text, image) / temperature  # [B, B]
  mask = _same(person_id).astype(jnp.float32)
  target = jnp.log(mask / mask.sum(axis=1, keepdims=True) + EPSILON)
  return _divergence(logits, target) + _divergence(logits.T, target)


def itc_loss(image, text, *, temperature, person_id=None):
  """Image-text contrast, CLIP's own loss: each image finds its caption among the batch's, and the reverse; halved.

  Args:
    image: f32[B, E] image embeddings, normalised here.
    text: f32[B, E] text embeddings, normalised here; row i describes image i.
    temperature: softmax temperature, > 0.
    person_id: i32[B], or None. Given, other pairs of the same identity are left out of the softmax, neither positives
      nor negatives.

  Returns:
    f32[] loss in nats, mean over the batch.

  Source: Radford et al., ICML 2021 (CLIP), arXiv 2103.00020.
  """
  logits = _similarity(text, image) / temperature  # [B, B]
  is_pair = jnp.eye(len(logits), dtype=bool)
  if person_id is not None:
    logits = jnp.where(_same(person_id) & ~is_pair, -jnp.inf, logits)
  # Not jnp.diagonal, nor Optax's cross-entropy, which gathers by label: over a sharded batch XLA makes of either a
  # branch that gathers the rows of all devices.
  right = jnp.sum(jnp.where(is_pair, logits, 0.0), axis=1)
  both = jax.nn.logsumexp(logits, axis=1) + jax.nn.logsumexp(logits, axis=0)
  return jnp.mean(both - 2 * right) / 2


def cmpm_loss(image, text, person_id):
  """Cross-modal projection matching: projections on the other side's directions follow the same-identity mask.

  Args:
    image: f32[B, E] image embeddings, not normalised.
    text: f32[B, E] text embeddings, not normalised; row i describes image i.
    person_id: i32[B] identity of each pair. Equal ids are positives.

  Returns:
    f32[] loss in nats, mean over the batch, both directions summed.

  Source: Zhang and Lu, ECCV 2018; the mask is divided by its L2 norm, as in IRRA's code.
  """
  image, text = image.astype(jnp.float32), text.astype(jnp.float32)
  mask = _same(person_id).astype(jnp.float32)
  target = jnp.log(mask / jnp.linalg.norm(mask, axis=1, keepdims=True) + EPSILON)
  return _divergence(_product(image, _normalise(text)), target) + _divergence(_product(text, _normalise(image)), target)


def identity_loss(image_logits, text_logits, labels):
  """Classification of the training identities, mean of both sides' cross-entropies.

  Args:
    image_logits, text_logits: f32[B, C].
    labels: i32[B] in 0..C-1.

  Returns:
    f32[] loss in nats, mean over the batch.
  """

  def cross_entropy(logits):
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels))

  return (cross_entropy(image_logits) + cross_entropy(text_logits)) / 2


def _normalise(x):
  """Returns rows of length 1; the gradient of a row of zeros is 0, not NaN."""
  x = x.astype(jnp.float32)
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  is_tiny = square < MIN_NORM**2
  return jnp.where(is_tiny, 0.0, x * jax.lax.rsqrt(jnp.where(is_tiny, 1.0, square)))


def _product(a, b):
  # Accelerators would else multiply in bfloat16 or TF32, too coarse at temperature 0.02.
  return jnp.einsum("NE,GE->NG", a, b, precision=jax.lax.Precision.HIGHEST)


def _similarity(text, image):
  return _product(_normalise(text), _normalise(image))


def _same(person_id):
  return person_id[:, None] == person_id[None, :]


def _divergence(logits, log_target):
  """Returns the mean over rows of KL(softmax(logits) || target)."""
  # Optax names its arguments for KL(target || prediction).
  return jnp.mean(optax.losses.kl_divergence_with_log_targets(log_target, jax.nn.log_softmax(logits, axis=1)))
