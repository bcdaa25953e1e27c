"""Random deletion, masking and swapping of the tokens of a batch, in JAX, inside the jitted step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tireid_jax import fields
from tireid_jax.data.tokenizer import PADDING
from tireid_jax.errors import UserError
from tireid_jax.fields import FRACTION, PROBABILITY, field


@dataclasses.dataclass(frozen=True)
class TextAugmentation:
  """The fields of `stageN.augment_text`: what is sampled for each training caption."""

  delete_probability: float = field(
    0.0, "probability of deleting each token between the start token and the end token", PROBABILITY
  )
  mask_probability: float = field(0.0, "probability of replacing each of them by mask_token", PROBABILITY)
  mask_token: int = field(
    49_405,
    'id of the mask token. CLIP\'s vocabulary has no mask; this is its last word, "jekyll", which IRRA too uses as a '
    "mask. With another vocabulary choose a word that no caption has",
  )
  swap_fraction: float = field(
    0.0, "exchanges of two tokens, as a fraction of the caption's tokens; at least one exchange if not 0", FRACTION
  )

  def __post_init__(self):
    fields.check(TextAugmentation, vars(self), "augment_text.")


def check(tokenizer: dict[str, Any], **settings: Any) -> None:
  """Raises ValueError for an invalid setting of `augment_text`, or a mask token that is no word of the vocabulary.

  Args:
    tokenizer: {"vocabulary_size", "end_token"}, of a prepared data set's dataset.json.
    **settings: fields of TextAugmentation.
  """
  chosen = TextAugmentation(**settings)
  is_word = 0 < chosen.mask_token < tokenizer["vocabulary_size"]
  if chosen.mask_probability and not (is_word and chosen.mask_token != tokenizer["end_token"]):
    raise UserError(
      f"augment_text.mask_token is {chosen.mask_token}; it must be the id of a word, from 1 to "
      f"{tokenizer['vocabulary_size'] - 1} and not {tokenizer['end_token']}, the end token"
    )


def augment_text(
  key: Array, tokens: Int[Array, "B L"], indices: Int[Array, " B"] | None = None, **settings: Any
) -> Int[Array, "B L"]:
  """Returns i32[B, L] captions with tokens deleted, masked and swapped at random.

  Only tokens between the start and the end token change. Tokens after a deleted one move up, with padding at the end,
  and at least one token is kept. Swapping exchanges two random tokens, `swap_fraction` times the number of tokens but
  at least once, as in easy data augmentation (Wei and Zou, EMNLP 2019, arXiv 1901.11196). The randomness of caption i
  depends only on `key` and indices[i].

  Args:
    key: random key of the step.
    tokens: i32[B, L] as from a Tokenizer.
    indices: i32[B] positions of the captions in the global batch; by default 0 to B - 1.
    **settings: fields of TextAugmentation, static.
  """
  chosen = TextAugmentation(**settings)

  def one(index, caption):
    delete_key, mask_key, swap_key = jax.random.split(jax.random.fold_in(key, index), 3)
    if chosen.delete_probability:
      caption = _delete(delete_key, caption, chosen.delete_probability)
    if chosen.mask_probability:
      is_masked = jax.random.bernoulli(mask_key, chosen.mask_probability, caption.shape)
      caption = jnp.where(is_masked & _is_word(caption), chosen.mask_token, caption)
    if chosen.swap_fraction:
      caption = _swap(swap_key, caption, chosen.swap_fraction)
    return caption

  return jax.vmap(one)(jnp.arange(len(tokens)) if indices is None else indices, tokens)


def _num_words(caption):
  """Returns the number of tokens between the start token and the end token, which is the last that is no padding."""
  return len(caption) - 2 - jnp.argmax(caption[::-1] != PADDING)


def _is_word(caption):
  """Returns bool[L], true between the start token and the end token."""
  positions = jnp.arange(len(caption))
  return (positions > 0) & (positions <= _num_words(caption))


def _delete(key, caption, probability):
  chance_key, kept_key = jax.random.split(key)
  is_word = _is_word(caption)
  is_deleted = is_word & jax.random.bernoulli(chance_key, probability, caption.shape)
  num_words = _num_words(caption)
  # If all would be deleted, this one is kept.
  last = 1 + jax.random.randint(kept_key, (), 0, jnp.maximum(num_words, 1))
  is_deleted &= (is_deleted.sum() < num_words) | (jnp.arange(len(caption)) != last)
  kept_first = jnp.argsort(is_deleted, stable=True)
  num_kept = len(caption) - is_deleted.sum()
  return jnp.where(jnp.arange(len(caption)) < num_kept, caption[kept_first], PADDING)


def _swap(key, caption, fraction):
  """Exchanges two different positions, `fraction` times the number of words, at least once."""
  num_words = _num_words(caption)
  # By number of words; computed in Python, since float32 would round differently.
  num_swaps = [max(1, int(fraction * words)) for words in range(len(caption) - 1)]

  def swap(n, caption):
    one_key, other_key = jax.random.split(jax.random.fold_in(key, n))
    one = jax.random.randint(one_key, (), 0, jnp.maximum(num_words, 1))
    other = (one + 1 + jax.random.randint(other_key, (), 0, jnp.maximum(num_words - 1, 1))) % jnp.maximum(num_words, 1)
    pair = jnp.stack([one, other]) + 1
    swapped = caption.at[pair].set(caption[pair[::-1]])
    return jnp.where((num_words > 1) & (n < jnp.array(num_swaps)[num_words]), swapped, caption)

  return jax.lax.fori_loop(0, num_swaps[-1], swap, caption)
