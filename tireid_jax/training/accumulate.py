"""Gradient accumulation that is exact for losses of a whole batch (GradCache).

Source: Gao et al., RepL4NLP 2021, arXiv 2101.06983.
"""

import jax


def at_once(encode, inputs):
  """Returns encode(inputs), all rows together."""
  return encode(inputs)


def in_chunks(num_chunks, num_shards):
  """Returns apply(encode, inputs), which equals encode(inputs) but holds the activations of one chunk at a time.

  A contrastive loss needs every row's embedding, but no activation. So the forward pass keeps the embeddings alone;
  when the loss's gradients at them are known, the backward pass encodes chunk after chunk again and adds up what each
  gives the weights. Differentiating a loop over rematerialised chunks does just that. It costs a second forward pass.

  Args:
    num_chunks: into how many the rows are divided.
    num_shards: devices over which the rows are split, in order. A chunk has its share of each device's rows, so that
      none moves to another device.

  `encode` takes and returns a tree of arrays whose rows, along the first axis, do not depend on each other; their
  number is a multiple of num_chunks * num_shards.
  """
  if num_chunks == 1:
    return at_once

  def split(array):
    shards = array.reshape(num_shards, num_chunks, -1, *array.shape[1:])
    return shards.swapaxes(0, 1).reshape(num_chunks, -1, *array.shape[1:])

  def join(chunks):
    shards = chunks.reshape(num_chunks, num_shards, -1, *chunks.shape[2:])
    return shards.swapaxes(0, 1).reshape(-1, *chunks.shape[2:])

  def apply(encode, inputs):
    # A loop's body is not merged with what follows it, so nothing else need keep the second pass apart.
    embeddings = jax.lax.map(jax.checkpoint(encode, prevent_cse=False), jax.tree.map(split, inputs))
    return jax.tree.map(join, embeddings)

  return apply
