"""Gradient caching: a batch encoded in chunks has the loss and gradients of the whole batch, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.small_training import Setup, make_batch, make_stage
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.training import accumulate, stages

pytestmark = pytest.mark.slow

VARIANT = Variant(Tower(32, 2, 2), Tower(32, 2, 2), patch_size=8, embedding_size=16, vocabulary_size=64, end_token=63)
PROMPTS = PromptSpec(2, 2, depth=2, dropout=0.3)
BATCH_SIZE, NUM_CHUNKS = 32, 4
AUGMENT = {"augment": {"erase_probability": 0.5}, "augment_text": {"delete_probability": 0.2, "swap_fraction": 0.1}}
GROUPED = {"kind": "images", "captions_per_image": 2}

# Name: (number of the stage, changed fields).
CASES = {
  "both encoders and the temperature": (0, {}),
  "prompts, with two captions per image": (1, {"losses": {"itc": 1.0, "sdm": 1.0}, "sampler": GROUPED}),
  "everything, with the identity loss": (
    2, {"trains": ("prompts", "params"), "losses": {"sdm": 1.0, "itc": 0.0, "identity": 1.0}},
  ),
}  # fmt: skip


@functools.cache
def compute(case, num_chunks, num_shards=1):
  """Returns (loss, terms, {path: gradient}, bytes of temporaries) of a batch encoded in chunks."""
  number, changes = CASES[case]
  stage = make_stage(number, **AUGMENT, **changes)
  setup = Setup(
    stage, prompts=PROMPTS, variant=VARIANT, augments=True, encode_batch=accumulate.in_chunks(num_chunks, num_shards)
  )
  batch = make_batch(BATCH_SIZE)
  batch["tokens"] = jnp.where(batch["tokens"] == 49407, VARIANT.end_token, batch["tokens"] % 60)
  images = batch["images"][:: stage.captions_per_image]
  batch |= {"images": images, "person_id": jnp.repeat(batch["person_id"][: len(images)], stage.captions_per_image)}
  arguments = (*stages.partition(setup.state.variables, setup.labels), batch, jax.random.key(3))
  program = jax.jit(jax.value_and_grad(setup.loss, has_aux=True)).lower(*arguments).compile()
  (loss, terms), gradients = program(*arguments)
  leaves = {stages.path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)}
  return loss, terms, leaves, program.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("case", CASES)
def test_chunks_give_the_loss_and_gradients_of_the_whole_batch(case):
  loss, terms, gradients, _ = compute(case, 1)
  chunked_loss, chunked_terms, chunked, _ = compute(case, NUM_CHUNKS)
  np.testing.assert_allclose(chunked_loss, loss, rtol=1e-6)
  np.testing.assert_allclose(list(chunked_terms.values()), list(terms.values()), rtol=1e-5)
  assert chunked.keys() == gradients.keys()
  for path, gradient in gradients.items():
    # A key's bias shifts all attention logits of a query equally: its gradient is 0 except for rounding errors.
    scale = np.abs(gradients[path.replace("attn/key/bias", "attn/query/bias")]).max()
    # A temperature of 0.02 scales rounding errors up by 50.
    assert np.abs(chunked[path] - gradient).max() <= 5e-5 * scale, path


def test_chunks_need_less_than_half_of_the_temporary_memory():
  case = "everything, with the identity loss"
  assert compute(case, NUM_CHUNKS)[-1] < 0.5 * compute(case, 1)[-1]


def test_each_chunk_takes_equally_many_examples_of_each_device_and_keeps_their_order():
  chunks = []

  def encode(inputs):
    jax.debug.callback(lambda chunk: chunks.append(chunk.tolist()), inputs)
    return 10 * inputs

  encoded = accumulate.in_chunks(num_chunks=2, num_shards=3)(encode, jnp.arange(12))
  assert encoded.tolist() == [10 * example for example in range(12)]
  # The devices hold examples 0 to 3, 4 to 7 and 8 to 11.
  assert chunks == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
