"""Deletion, masking and swapping of tokens: within the caption, at the requested rates, and not in place."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs import common
from tireid_jax.data import tokenizer
from tireid_jax.data.transforms import augment_text

OFF = common.base_config().stage2.augment_text.to_dict()
START, END, MASK = tokenizer.START, tokenizer.END, OFF["mask_token"]
LENGTH = 16
MANY = 2000


@functools.partial(jax.jit, static_argnames=OFF)
def augmented(key, tokens, **settings):
  return augment_text.augment_text(key, tokens, **settings)


def captions(*num_words):
  """Returns i32[N, LENGTH]: captions with these numbers of words, whose ids are 1, 2, 3, ..."""
  tokens = [[START, *range(1, num + 1), END] + [0] * (LENGTH - 2 - num) for num in num_words]
  return jnp.array(tokens, jnp.int32)


def words_of(tokens):
  """Returns the list of words of each caption, after checking its start token, end token and padding."""
  words = []
  for caption in np.asarray(tokens).tolist():
    end = caption.index(END)
    assert caption[0] == START
    assert not any(caption[end + 1 :])
    words.append(caption[1:end])
  return words


def test_with_everything_off_tokens_are_unchanged_at_no_cost():
  tokens = captions(5, 9)
  np.testing.assert_array_equal(augmented(jax.random.key(0), tokens, **OFF), tokens)
  assert augmented.lower(jax.random.key(0), tokens, **OFF).compile().cost_analysis().get("flops", 0) == 0


def test_deletion_removes_words_at_the_requested_rate_and_keeps_the_order():
  words = words_of(augmented(jax.random.key(0), captions(*[10] * MANY), **OFF | {"delete_probability": 0.2}))
  assert all(caption == sorted(set(caption)) for caption in words)
  rates = [np.mean([word not in caption for caption in words]) for word in range(1, 11)]
  assert np.abs(np.array(rates) - 0.2).max() < 5 * math.sqrt(0.2 * 0.8 / MANY)


def test_if_all_words_would_be_deleted_a_random_one_is_kept():
  words = words_of(augmented(jax.random.key(0), captions(*[3] * MANY), **OFF | {"delete_probability": 1.0}))
  assert {len(caption) for caption in words} == {1}
  counts = np.bincount([caption[0] for caption in words])[1:]
  assert stats.chisquare(counts).pvalue > 1e-3


def test_every_word_is_masked_at_the_requested_rate():
  words = np.array(words_of(augmented(jax.random.key(0), captions(*[10] * MANY), **OFF | {"mask_probability": 0.2})))
  assert ((words == MASK) | (words == np.arange(1, 11))).all()
  assert np.abs((words == MASK).mean(axis=0) - 0.2).max() < 5 * math.sqrt(0.2 * 0.8 / MANY)


@pytest.mark.parametrize(("fraction", "num_swaps"), [(0.01, 1), (0.2, 2)])
def test_swapping_exchanges_the_requested_fraction_of_pairs_but_at_least_one(fraction, num_swaps):
  words = np.array(words_of(augmented(jax.random.key(0), captions(*[10] * MANY), **OFF | {"swap_fraction": fraction})))
  np.testing.assert_array_equal(np.sort(words, axis=1), np.tile(np.arange(1, 11), (MANY, 1)))
  num_moved = (words != np.arange(1, 11)).sum(axis=1)
  assert num_moved.max() == 2 * num_swaps
  if num_swaps == 1:
    assert num_moved.min() == 2
    pairs = np.sort(np.argwhere(words != np.arange(1, 11))[:, 1].reshape(-1, 2), axis=1)
    counts = np.zeros((10, 10))
    np.add.at(counts, tuple(pairs.T), 1)
    assert stats.chisquare(counts[np.triu_indices(10, 1)]).pvalue > 1e-3


def test_captions_without_words_with_one_word_and_of_full_length_keep_start_and_end_tokens():
  settings = OFF | {"delete_probability": 0.5, "mask_probability": 0.5, "swap_fraction": 0.5}
  empty, one, full = words_of(augmented(jax.random.key(0), captions(0, 1, LENGTH - 2), **settings))
  assert empty == []
  assert len(one) == 1
  assert 1 <= len(full) <= LENGTH - 2


def test_the_padding_id_within_a_caption_is_a_word():
  tokens = captions(4).at[0, 2].set(0)
  out = augmented(jax.random.key(0), tokens, **OFF | {"mask_probability": 1.0})
  assert out[0].tolist() == [START, *[MASK] * 4, END] + [0] * (LENGTH - 6)


def test_a_caption_depends_only_on_the_key_and_its_index_and_the_input_is_not_modified():
  tokens = np.array(captions(*[10] * 8))  # on the host, like those of a Split
  before = tokens.copy()
  settings = OFF | {"delete_probability": 0.3, "mask_probability": 0.3, "swap_fraction": 0.3}
  whole = augmented(jax.random.key(1), tokens, **settings)
  np.testing.assert_array_equal(tokens, before)
  np.testing.assert_array_equal(whole[:4], augmented(jax.random.key(1), tokens[:4], **settings))
  assert (whole[0] != whole[1]).any()
  assert (whole != augmented(jax.random.key(2), tokens, **settings)).any()


def test_the_default_mask_token_is_the_last_word_of_clip_s_vocabulary():
  assert tokenizer.tokenize(["jekyll"], 3).tolist() == [[START, MASK, END]]


@pytest.mark.parametrize(
  ("setting", "value"), [("delete_probability", 1.5), ("mask_probability", -0.1), ("swap_fraction", 2.0)]
)
def test_a_setting_out_of_range_is_rejected_by_name(setting, value):
  with pytest.raises(ValueError, match=f"augment_text.{setting} is .*; it must be a .* from 0 to 1"):
    augment_text.check({"vocabulary_size": 49_408, "end_token": END}, **OFF | {setting: value})


@pytest.mark.parametrize("mask_token", [0, END, 49_408])
def test_a_mask_token_that_is_not_a_word_is_rejected_if_it_is_used(mask_token):
  settings, clip = OFF | {"mask_token": mask_token}, {"vocabulary_size": 49_408, "end_token": END}
  augment_text.check(clip, **settings)
  with pytest.raises(ValueError, match=f"augment_text.mask_token is {mask_token}; it must be the id of a word"):
    augment_text.check(clip, **settings | {"mask_probability": 0.1})
