"""Random deletion, masking and swapping of a batch's tokens, in JAX, for the inside of a jitted step."""

import dataclasses

import jax
import jax.numpy as jnp

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


def check(tokenizer, **settings):
  """Raises ValueError for a setting that `augment_text` cannot have, or a mask that is no word of the vocabulary.

  Args:
    tokenizer: {"vocabulary_size", "end_token"}, of a prepared data set's info.
    **settings: fields of TextAugmentation.
  """
  chosen = TextAugmentation(**settings)
  is_word = 0 < chosen.mask_token < tokenizer["vocabulary_size"]
  if chosen.mask_probability and not (is_word and chosen.mask_token != tokenizer["end_token"]):
    raise UserError(
      f"augment_text.mask_token is {chosen.mask_token}; it must be the id of a word, from 1 to "
      f"{tokenizer['vocabulary_size'] - 1} and not {tokenizer['end_token']}, the end token"
    )


def augment_text(key, tokens, rows=None, **settings):
  """Returns i32[B, L] captions with tokens deleted, masked and swapped at random.

  All of it happens between the start token and the end token, which stay. Deleted tokens are followed up and padded
  behind; of a caption whose tokens would all go, one stays. Swapping exchanges two tokens so many times, at least once,
  as easy data augmentation does (Wei and Zou, EMNLP 2019, arXiv 1901.11196). Caption i draws from `key` and rows[i]
  alone.

  Args:
    key: key of the step.
    tokens: i32[B, L] rows of a Tokenizer's result.
    rows: i32[B] places of the captions in the whole batch; from 0 on if not given.
    **settings: fields of TextAugmentation, static.
  """
  chosen = TextAugmentation(**settings)

  def one(row, caption):
    delete_key, mask_key, swap_key = jax.random.split(jax.random.fold_in(key, row), 3)
    if chosen.delete_probability:
      caption = _delete(delete_key, caption, chosen.delete_probability)
    if chosen.mask_probability:
      is_masked = jax.random.bernoulli(mask_key, chosen.mask_probability, caption.shape)
      caption = jnp.where(is_masked & _is_word(caption), chosen.mask_token, caption)
    if chosen.swap_fraction:
      caption = _swap(swap_key, caption, chosen.swap_fraction)
    return caption

  return jax.vmap(one)(jnp.arange(len(tokens)) if rows is None else rows, tokens)


def _num_words(caption):
  """Returns the number of tokens between the start token and the end token, which is the last that is no padding."""
  return len(caption) - 2 - jnp.argmax(caption[::-1] != PADDING)


def _is_word(caption):
  """Returns bool[L], true between the start token and the end token."""
  places = jnp.arange(len(caption))
  return (places > 0) & (places <= _num_words(caption))


def _delete(key, caption, probability):
  chance_key, kept_key = jax.random.split(key)
  is_word = _is_word(caption)
  is_deleted = is_word & jax.random.bernoulli(chance_key, probability, caption.shape)
  num_words = _num_words(caption)
  # Where all would go, this one stays.
  last = 1 + jax.random.randint(kept_key, (), 0, jnp.maximum(num_words, 1))
  is_deleted &= (is_deleted.sum() < num_words) | (jnp.arange(len(caption)) != last)
  kept_first = jnp.argsort(is_deleted, stable=True)
  num_kept = len(caption) - is_deleted.sum()
  return jnp.where(jnp.arange(len(caption)) < num_kept, caption[kept_first], PADDING)


def _swap(key, caption, fraction):
  """Exchanges two different places, as many times as `fraction` of the words, at least once."""
  num_words = _num_words(caption)
  # By number of words; counted here, where nothing is rounded to float32.
  num_swaps = [max(1, int(fraction * words)) for words in range(len(caption) - 1)]

  def swap(n, caption):
    one_key, other_key = jax.random.split(jax.random.fold_in(key, n))
    one = jax.random.randint(one_key, (), 0, jnp.maximum(num_words, 1))
    other = (one + 1 + jax.random.randint(other_key, (), 0, jnp.maximum(num_words - 1, 1))) % jnp.maximum(num_words, 1)
    pair = jnp.stack([one, other]) + 1
    swapped = caption.at[pair].set(caption[pair[::-1]])
    return jnp.where((num_words > 1) & (n < jnp.array(num_swaps)[num_words]), swapped, caption)

  return jax.lax.fori_loop(0, num_swaps[-1], swap, caption)
