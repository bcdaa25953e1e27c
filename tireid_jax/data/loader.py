"""Batches of a Split: training batches by step; evaluation batches of all images, or of all captions by length."""

import concurrent.futures
import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tireid_jax.data import sampling, tokenizer
from tireid_jax.data.prepared import splits
from tireid_jax.errors import UserError

# A process's part of a global batch.
Shard = slice | np.ndarray

# Batches loaded ahead of the step: one ready for the accelerator, one being loaded.
READ_AHEAD = 2


class StepBatches:
  """Training batches by step, for subclasses whose `_load(step)` makes a batch.

  A background thread prefetches consecutive steps; it ends with `close`, or at the end of the `with` block.
  """

  def __init__(self, read_ahead: int, num_steps: int | None) -> None:
    """`read_ahead` is the number of batches to prefetch, `num_steps` that of all steps; None for no end."""
    self.num_steps = num_steps
    self._read = ReadAhead(self._load, read_ahead, num_steps)

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Returns {"images": u8[B, h, w, 3], "tokens": i32[B, L], "person_id": i32[B] labels} of one step, from 0.

    B counts the examples of the shard. If the sampler groups captions by image, there is one image for every
    `captions_per_image` consecutive captions.

    Raises:
      ValueError: the step is negative, or beyond the last epoch.
    """
    if step < 0 or (self.num_steps is not None and step >= self.num_steps):
      raise ValueError(f"step {step} is not among the steps 0 to {self.num_steps} of these batches")
    return self._read(step)

  def close(self) -> None:
    """Ends the background thread and drops prefetched batches."""
    self._read.close()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()

  def _load(self, step: int) -> dict[str, np.ndarray]:
    raise NotImplementedError


class Batches(StepBatches):
  """Training batches of a split: `batches(step)` depends on the seed and the step alone.

  The sampler (data/sampling.py) decides which captions are in an epoch and how they are grouped.

  Args:
    split: Split to sample from.
    batch_size: B, the global batch over all processes.
    seed: integer that determines the order.
    caption_lengths: padded lengths in tokens, ascending, the last one that of `split.tokens`. A batch is padded to the
      first that holds its longest caption.
    sampler: as stageN.sampler; by default, captions are shuffled.
    num_epochs: number of epochs; None for no end.
    shard: slice or i64[R], ascending: this process's examples of each global batch, without splitting the captions of
      an image; by default, all. Padding follows the global batch, so that all processes agree on the shape.
    read_ahead: number of batches to prefetch; 0 for none.
  """

  def __init__(
    self,
    split: splits.Split,
    batch_size: int,
    *,
    seed: int,
    caption_lengths: Sequence[int],
    sampler: Mapping[str, Any] = sampling.CAPTIONS,
    num_epochs: int | None = None,
    shard: Shard = slice(None),
    read_ahead: int = READ_AHEAD,
  ):
    self._split = split
    self._make_sampler = functools.partial(sampling.make_sampler, split, batch_size, seed, **sampler)
    self._captions = self._make_sampler()
    self._captions_per_image = self._captions.captions_per_image
    self._shard = shard
    self._buckets = _Buckets(split.tokens, caption_lengths)
    self.steps_per_epoch = self._captions.steps_per_epoch
    super().__init__(read_ahead, None if num_epochs is None else num_epochs * self.steps_per_epoch)

  def examples(self, step: int) -> list[dict[str, Any]]:
    """Returns [{"caption": its index in the split, "image": path of the file}] of the global batch of a step."""
    # A second sampler, since the first one belongs to the background thread.
    captions = self._make_sampler()(step)
    paths = [self._split.file_paths[image] for image in self._split.caption_image[captions]]
    return [{"caption": int(caption), "image": path} for caption, path in zip(captions, paths, strict=True)]

  def _load(self, step):
    captions = self._captions(step)
    length = self._buckets.length(captions)
    captions = captions[self._shard]
    images = self._split.caption_image[captions]
    return {
      "images": self._split.images[images[:: self._captions_per_image]],
      "tokens": self._split.tokens[captions, :length],
      "person_id": self._split.labels[images],
    }


def image_batches(
  split: splits.Split, batch_size: int, *, shard: Shard = slice(None), read_ahead: int = READ_AHEAD
) -> Iterator[dict[str, np.ndarray]]:
  """Yields every image of a split once, in order.

  The last batch is padded by repeating the last image, so `result[batch["indices"]] = encoded` holds for all batches.

  Yields:
    {"images": u8[B, h, w, 3], "indices": i64[B] of the images in the split, "is_valid": bool[B], false for padding}.
    With a `shard`, a slice or i64[R] of each batch, `images` has only those; the others are of the whole batch.
  """
  for indices, is_valid, images in _evaluation_batches(
    np.arange(len(split.images)), batch_size, lambda indices: split.images[indices[shard]], read_ahead
  ):
    yield {"images": images, "indices": indices, "is_valid": is_valid}


def caption_batches(
  split: splits.Split,
  batch_size: int,
  caption_lengths: Sequence[int],
  *,
  shard: Shard = slice(None),
  read_ahead: int = READ_AHEAD,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields every caption of a split once, shortest first.

  Yields:
    {"tokens": i32[B, L], "indices": i64[B] of the captions in the split, "is_valid": bool[B]}, as `image_batches`; L is
    the first of `caption_lengths` that holds the batch.
  """
  return token_batches(split.tokens, batch_size, caption_lengths, shard=shard, read_ahead=read_ahead)


def token_batches(
  tokens: np.ndarray,
  batch_size: int,
  caption_lengths: Sequence[int],
  *,
  shard: Shard = slice(None),
  read_ahead: int = READ_AHEAD,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields captions that need not be of a split, i32[N, 77], as `caption_batches` does."""
  buckets = _Buckets(tokens, caption_lengths)
  order = np.argsort(buckets.lengths, kind="stable")
  for indices, is_valid, padded in _evaluation_batches(
    order, batch_size, lambda indices: tokens[indices[shard], : buckets.length(indices)], read_ahead
  ):
    yield {"tokens": padded, "indices": indices, "is_valid": is_valid}


def _evaluation_batches(order, batch_size, load, read_ahead):
  """Yields (indices, is_valid, load(indices)) for B indices of `order` at a time."""
  num_batches = -(-len(order) // batch_size)
  padded = np.pad(order, (0, num_batches * batch_size - len(order)), mode="edge").reshape(num_batches, batch_size)
  is_valid = np.arange(padded.size).reshape(padded.shape) < len(order)
  read = ReadAhead(lambda batch: load(padded[batch]), read_ahead, num_batches)
  try:
    for batch in range(num_batches):
      yield padded[batch], is_valid[batch], read(batch)
  finally:
    read.close()


class _Buckets:
  """Chooses the length that a batch of captions is padded to."""

  def __init__(self, tokens, caption_lengths):
    self.lengths = tokenizer.token_lengths(tokens)
    self._lengths = np.array(caption_lengths)
    ascending = len(caption_lengths) > 0 and self._lengths[0] > 0 and (np.diff(self._lengths) > 0).all()
    if not ascending or self._lengths[-1] != tokens.shape[1]:
      raise UserError(
        f"config.data.caption_lengths must be ascending and end with {tokens.shape[1]}, got {tuple(caption_lengths)}"
      )

  def length(self, captions):
    """Returns the first of the lengths that holds all of some captions, given by index."""
    return int(self._lengths[np.searchsorted(self._lengths, self.lengths[captions].max())])


class ReadAhead:
  """Calls `load(step)`; if steps are requested in order, prefetches the next ones in a thread.

  At most `depth` results are held. An exception of `load` is raised by the call for its step.
  """

  def __init__(self, load, depth, num_steps):
    self._load = load
    self._depth = depth
    self._num_steps = num_steps
    self._last_step = None
    self._waiting = {}  # step: future
    self._lock = threading.Lock()
    self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches") if depth else None

  def __call__(self, step):
    with self._lock:
      if self._pool is None:
        return self._load(step)
      if self._last_step is not None and step != self._last_step + 1:
        self._drop()
      future = self._waiting.pop(step, None) or self._pool.submit(self._load, step)
      self._last_step = step
      for ahead in range(step + 1, step + 1 + self._depth):
        if ahead not in self._waiting and (self._num_steps is None or ahead < self._num_steps):
          self._waiting[ahead] = self._pool.submit(self._load, ahead)
    return future.result()

  def close(self):
    with self._lock:
      self._drop()
      if self._pool is not None:
        self._pool.shutdown(cancel_futures=True)

  def _drop(self):
    for future in self._waiting.values():
      future.cancel()
    self._waiting.clear()
