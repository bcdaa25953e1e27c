"""The words of example queries: which images they are compared with, and which captions are encoded."""

import types

import numpy as np
import pytest

from configs import toy
from tireid_jax.data.tokenizer import tokenize
from tireid_jax.evaluation import ranked_examples
from tireid_jax.report import words

CAPTIONS = ["A man in a red coat.", "a woman", "She wears a red dress, and boots."]
SIZE = 16


class CountingEncoders:
  """Embeds a caption as how often it has tokens of each residue."""

  def encode_tokens(self, variables, tokens, caption_lengths):
    assert (variables, tokens.shape[1], caption_lengths) == ("variables", 77, (40, 56, 77))
    return np.array([np.bincount(row[row > 0] % SIZE, minlength=SIZE) for row in tokens], np.float32)


def marked(tokenizer=""):
  config = toy.get_config()
  config.data.tokenizer = tokenizer
  loaded = types.SimpleNamespace(config=config, variables="variables")
  encoders = CountingEncoders()
  text = encoders.encode_tokens("variables", tokenize(CAPTIONS), (40, 56, 77))
  image = np.random.default_rng(0).standard_normal((5, SIZE)).astype(np.float32)
  split = types.SimpleNamespace(captions=CAPTIONS, caption_image=np.array([3, 0, 4]))
  query = ranked_examples.RankedQuery("best", CAPTIONS[2], 7, 1, 1.0, None, [])
  return words.with_words([query], [2], loaded, encoders, image, text, split)[0], image


def test_a_word_is_left_out_of_the_caption_for_the_described_and_for_the_first_image():
  query, image = marked()
  assert [word.text for word in query.words] == CAPTIONS[2].split()
  shorter = "She wears a red and boots."
  (whole, without) = CountingEncoders().encode_tokens("variables", tokenize([CAPTIONS[2], shorter]), (40, 56, 77))
  image /= np.linalg.norm(image, axis=1, keepdims=True)
  before, after = (row / np.linalg.norm(row) @ image.T for row in (whole, without))
  first = np.argmax(before)
  assert first != 4
  assert query.words[4].drops == pytest.approx((before[4] - after[4], before[first] - after[first]), abs=1e-6)


def test_without_the_tokenizer_the_words_are_not_marked(capsys):
  query, _ = marked("/nowhere/tokenizer")
  assert query.words == ()
  assert "words of captions are not marked: there is no folder /nowhere/tokenizer" in "".join(capsys.readouterr())
