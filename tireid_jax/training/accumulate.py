"""Gradient accumulation that is exact for losses of a whole batch (GradCache).

Source: Gao et al., RepL4NLP 2021, arXiv 2101.06983.
"""

from collections.abc import Callable
from typing import Any

import jax


def at_once(encode: Callable[[Any], Any], inputs: Any) -> Any:
  """Returns encode(inputs), the whole batch at once."""
  return encode(inputs)


def in_chunks(num_chunks: int, num_shards: int) -> Callable[[Callable[[Any], Any], Any], Any]:
  """Returns apply(encode, inputs), which equals encode(inputs) but holds the activations of one chunk at a time.

  A contrastive loss needs the embeddings of all examples, but not their activations. So the forward pass stores only
  the embeddings; once the gradients with respect to them are known, the backward pass re-encodes chunk after chunk
  and accumulates the gradients of the weights. Differentiating a loop over rematerialised chunks does exactly this, at
  the cost of a second forward pass.

  Args:
    num_chunks: number of chunks.
    num_shards: devices over which the batch is sharded, in order. A chunk takes as many examples from each device, so
      that none moves to another device.

  `encode` takes and returns a tree of arrays with independent examples along the first axis, whose size is a multiple
  of num_chunks * num_shards.
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
    # XLA does not merge a loop's body with other code, so common subexpressions need no other barrier.
    embeddings = jax.lax.map(jax.checkpoint(encode, prevent_cse=False), jax.tree.map(split, inputs))
    return jax.tree.map(join, embeddings)

  return apply
