"""Batches of a Split: for training by step, for evaluation in the order of rows or of lengths."""

import concurrent.futures
import functools
import threading

import numpy as np

from tireid_jax.data import sampling, tokenizer
from tireid_jax.errors import UserError

# Batches read ahead of the step: one for the accelerator to take, one in the making.
READ_AHEAD = 2


class Batches:
  """Training batches by step: `batches(step)` depends on the seed and the step alone.

  Which captions an epoch takes, and with which others, is the sampler's (data/sampling.py). Consecutive steps are read
  ahead in a background thread; `close`, or leaving the `with` block, ends it.

  Args:
    split: Split to draw from.
    batch_size: B, over all processes.
    seed: whole number that the order follows from.
    caption_lengths: ascending, the last at least every caption's; a batch is padded to the least that holds it.
    sampler: as stageN.sampler; shuffled captions if not given.
    num_epochs: ends after so many; None for no end.
    share: slice or i64[R], ascending: the rows of each batch that are read, whole images; all if not given. The
      captions' length is that of the whole batch, so that processes with different shares agree on the shape.
    read_ahead: batches prepared before they are asked for; 0 for none.
  """

  def __init__(
    self,
    split,
    batch_size,
    *,
    seed,
    caption_lengths,
    sampler=sampling.CAPTIONS,
    num_epochs=None,
    share=slice(None),
    read_ahead=READ_AHEAD,
  ):
    self._split = split
    self._make_sampler = functools.partial(sampling.make_sampler, split, batch_size, seed, **sampler)
    self._captions = self._make_sampler()
    self._captions_per_image = self._captions.captions_per_image
    self._share = share
    self._buckets = _Buckets(split.tokens, caption_lengths)
    self.steps_per_epoch = self._captions.steps_per_epoch
    self.num_steps = None if num_epochs is None else num_epochs * self.steps_per_epoch
    self._read = _ReadAhead(self._load, read_ahead, self.num_steps)

  def __call__(self, step):
    """Returns {"images": u8[B, h, w, 3], "tokens": i32[B, L], "person_id": i32[B] labels} of one step, from 0.

    B counts the share alone. Where the sampler groups by image, `images` are fewer: one for each
    `captions_per_image` rows on end of the others.
    """
    if step < 0 or (self.num_steps is not None and step >= self.num_steps):
      raise ValueError(f"step {step} is not among the steps 0 to {self.num_steps} of these batches")
    return self._read(step)

  def examples(self, step):
    """Returns [{"caption": its row in the split, "image": file's path}] of the whole batch of a step."""
    # A sampler of its own: the other one is the background thread's.
    rows = self._make_sampler()(step)
    paths = [self._split.file_paths[image] for image in self._split.caption_image[rows]]
    return [{"caption": int(row), "image": path} for row, path in zip(rows, paths, strict=True)]

  def close(self):
    """Ends the background thread; batches that were read ahead are dropped."""
    self._read.close()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()

  def _load(self, step):
    captions = self._captions(step)
    length = self._buckets.length(captions)
    captions = captions[self._share]
    images = self._split.caption_image[captions]
    return {
      "images": self._split.images[images[:: self._captions_per_image]],
      "tokens": self._split.tokens[captions, :length],
      "person_id": self._split.labels[images],
    }


def image_batches(split, batch_size, *, share=slice(None), read_ahead=READ_AHEAD):
  """Yields every image of a split once, in the order of rows.

  The last batch is filled up by repeating the last row, so `result[batch["rows"]] = encoded` is right for all of them.

  Yields:
    {"images": u8[B, h, w, 3], "rows": i64[B], "is_valid": bool[B], false in the filling}. With a `share`, a slice or
    i64[R] of each batch, `images` are those alone; `rows` and `is_valid` are of the whole batch.
  """
  for rows, is_valid, images in _evaluation_batches(
    np.arange(len(split.images)), batch_size, lambda rows: split.images[rows[share]], read_ahead
  ):
    yield {"images": images, "rows": rows, "is_valid": is_valid}


def caption_batches(split, batch_size, caption_lengths, *, share=slice(None), read_ahead=READ_AHEAD):
  """Yields every caption of a split once, short ones first; `rows` says which they are.

  Yields:
    {"tokens": i32[B, L], "rows": i64[B], "is_valid": bool[B]}, as `image_batches`; L is the least of `caption_lengths`
    that holds the batch.
  """
  buckets = _Buckets(split.tokens, caption_lengths)
  order = np.argsort(buckets.lengths, kind="stable")
  for rows, is_valid, tokens in _evaluation_batches(
    order, batch_size, lambda rows: split.tokens[rows[share], : buckets.length(rows)], read_ahead
  ):
    yield {"tokens": tokens, "rows": rows, "is_valid": is_valid}


def _evaluation_batches(order, batch_size, load, read_ahead):
  """Yields (rows, is_valid, load(rows)) for B rows of `order` at a time."""
  num_batches = -(-len(order) // batch_size)
  padded = np.pad(order, (0, num_batches * batch_size - len(order)), mode="edge").reshape(num_batches, batch_size)
  is_valid = np.arange(padded.size).reshape(padded.shape) < len(order)
  read = _ReadAhead(lambda batch: load(padded[batch]), read_ahead, num_batches)
  try:
    for batch in range(num_batches):
      yield padded[batch], is_valid[batch], read(batch)
  finally:
    read.close()


class _Buckets:
  """Which of a few lengths a batch of captions is padded to."""

  def __init__(self, tokens, caption_lengths):
    self.lengths = tokenizer.token_lengths(tokens)
    self._lengths = np.array(caption_lengths)
    ascending = len(caption_lengths) > 0 and self._lengths[0] > 0 and (np.diff(self._lengths) > 0).all()
    if not ascending or self._lengths[-1] != tokens.shape[1]:
      raise UserError(
        f"config.data.caption_lengths must be ascending and end with {tokens.shape[1]}, got {tuple(caption_lengths)}"
      )

  def length(self, captions):
    """Returns the least of the lengths that holds every one of some captions, given by row."""
    return int(self._lengths[np.searchsorted(self._lengths, self.lengths[captions].max())])


class _ReadAhead:
  """Calls `load(step)`, and for steps asked for one after the other, ahead of time in a thread of its own.

  At most `depth` results wait. What `load` raises is raised where its step is asked for.
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
